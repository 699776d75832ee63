"""Registration, verification and tokens of runners at the gateway."""

from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.errors import RequestRejected
from contracts.runners import (
    AuthenticateRunner,
    DeleteRunner,
    GetRunner,
    RegisterRunner,
    ResetRunnerToken,
    RunnerInfo,
    RunnerRegistration,
    RunnerView,
)
from tests.support.in_process.gateway_stage import (
    ADMIN,
    DEVELOPER,
    GatewayStage,
    command_result,
)

RUNNER_VIEW = RunnerView(
    id=7,
    uuid="r-7",
    name="seven",
    owner_type="GLOBAL",
    owner_id=None,
    online=True,
    registered_at=datetime(2026, 1, 2, tzinfo=UTC),
    connected_at=datetime(2026, 1, 2, tzinfo=UTC),
    ip_address="",
    info=RunnerInfo(),
)


async def test_a_runner_registers_with_json(stage: GatewayStage) -> None:
    await stage.services.serve(RegisterRunner, lambda _: RunnerRegistration(id=7, uuid="r-7", token="new"))
    body = {
        "token": "registration",
        "description": "a box",
        "tag_list": "linux, docker,linux",
        "run_untagged": False,
        "access_level": "ref_protected",
        "maximum_timeout": 60,
        "paused": True,
        "info": {"platform": "linux", "architecture": "amd64", "features": {"cache": True}},
    }
    response = await stage.http.post("/api/v4/runners", json=body)
    assert response.status_code == 201
    assert response.json() == {"id": 7, "token": "new", "token_expires_at": None}
    command = stage.services.received_of(RegisterRunner)[0].message
    assert (command.tags, command.run_untagged, command.protected) == (("linux", "docker"), False, True)
    assert (command.max_timeout_seconds, command.active, command.info.platform) == (60, False, "linux")
    assert command.ip_address == "127.0.0.1"


@pytest.mark.parametrize("wrong", [{"access_level": "protected"}, {"tag_list": [1, 2]}, {"tag_list": {"a": "b"}}])
async def test_an_invalid_runner_setting_is_rejected_at_registration(
    stage: GatewayStage, wrong: dict[str, Any]
) -> None:
    response = await stage.http.post("/api/v4/runners", json={"token": "registration", **wrong})
    assert response.status_code == 422
    assert stage.services.received_of(RegisterRunner) == []


async def test_an_administrator_resets_a_runner_token_by_runner_id(stage: GatewayStage) -> None:
    await stage.services.serve(GetRunner, lambda _: RUNNER_VIEW)
    await stage.services.serve(ResetRunnerToken, lambda _: RunnerRegistration(id=7, uuid="r-7", token="new"))
    path = "/api/v4/runners/7/reset_authentication_token"
    response = await stage.http.post(path, headers={"PRIVATE-TOKEN": stage.users.token(ADMIN)})
    assert (response.status_code, response.json()["token"]) == (201, "new")
    (received,) = stage.services.received_of(ResetRunnerToken)
    assert (received.message.runner_uuid, received.actor.name) == ("r-7", f"user{ADMIN}")
    refused = [{}, {"PRIVATE-TOKEN": "unknown"}, {"PRIVATE-TOKEN": stage.users.token(DEVELOPER)}]
    assert [(await stage.http.post(path, headers=headers)).status_code for headers in refused] == [403, 403, 403]


async def test_removing_a_runner_manager_does_not_delete_the_runner(stage: GatewayStage) -> None:
    sent = {"token": "runner-token", "system_id": "s_1"}
    assert (await stage.http.request("DELETE", "/api/v4/runners/managers", json=sent)).status_code == 204
    assert len(stage.services.received_of(AuthenticateRunner)) == 1


async def test_a_runner_registers_with_a_form(stage: GatewayStage) -> None:
    await stage.services.serve(RegisterRunner, lambda _: RunnerRegistration(id=7, uuid="r-7", token="new"))
    form = {"token": "registration", "tag_list": ["a", "b"], "run_untagged": "False", "info": "name"}
    response = await stage.http.post("/api/v4/runners", data=form)
    assert response.status_code == 201
    command = stage.services.received_of(RegisterRunner)[0].message
    assert (command.tags, command.run_untagged, command.registration_token) == (("a", "b"), False, "registration")


async def test_a_runner_registers_at_the_path_of_gitflic(stage: GatewayStage) -> None:
    await stage.services.serve(RegisterRunner, lambda _: RunnerRegistration(id=7, uuid="r-7", token="new"))
    body = {"token": "registration", "name": "a box", "tags": ["a", "b"], "runUntagged": False, "platform": "linux"}
    response = await stage.http.post("/-/runner/registration", json=body)
    assert response.status_code == 201
    assert response.json() == {"id": 7, "uuid": "r-7", "token": "new", "token_expires_at": None}
    command = stage.services.received_of(RegisterRunner)[0].message
    assert (command.name, command.tags, command.run_untagged, command.info.platform) == (
        "a box",
        ("a", "b"),
        False,
        "linux",
    )


async def test_a_wrong_registration_token_is_403_at_the_path_of_gitflic(stage: GatewayStage) -> None:
    await stage.services.serve(RegisterRunner, refuse_registration)
    response = await stage.http.post("/-/runner/registration", json={"token": "wrong"})
    assert (response.status_code, response.json()["message"]) == (403, "REGISTRATION_TOKEN")


def refuse_registration(_command: RegisterRunner) -> None:
    raise RequestRejected("REGISTRATION_TOKEN")


async def test_a_wrong_registration_token_is_403_with_a_message_for_people(stage: GatewayStage) -> None:
    await stage.services.serve(RegisterRunner, refuse_registration)
    response = await stage.http.post("/api/v4/runners", json={"token": "wrong"})
    assert response.status_code == 403
    assert response.json() == {"message": "The registration token is invalid."}


async def test_a_runner_verifies_its_token(stage: GatewayStage) -> None:
    response = await stage.http.post("/api/v4/runners/verify", json={"token": "runner-token", "system_id": "s"})
    assert (response.status_code, response.json()) == (
        200,
        {"id": 7, "token": "runner-token", "token_expires_at": None},
    )


async def test_a_runner_unregisters_itself(stage: GatewayStage) -> None:
    await stage.services.serve(DeleteRunner, lambda _: command_result("runner-r-7"))
    response = await stage.http.request("DELETE", "/api/v4/runners", data={"token": "runner-token"})
    assert response.status_code == 204
    assert stage.services.received_of(DeleteRunner)[0].message == DeleteRunner(runner_uuid="r-7")
