"""The GitLab runner protocol at the gateway: registration, held job requests, logs and job states."""

import asyncio
import contextlib
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from contracts.builds import (
    AppendTrace,
    Assignment,
    ClaimJob,
    ClaimResult,
    ClaimReturned,
    JobQueued,
    JobVariable,
    LaunchedProject,
    PlannedJob,
    ReportJob,
    ReturnClaim,
    TraceState,
)
from contracts.errors import RequestRejected
from contracts.projects import GetWebhookPayload
from contracts.runners import (
    AuthenticateRunner,
    DeleteRunner,
    GetRunner,
    RegisterRunner,
    ResetRunnerToken,
    RunnerInfo,
    RunnerProfile,
    RunnerRegistration,
    RunnerView,
)
from gateway.app import JOB_QUEUED_SUBJECT
from libs.messaging.message_server import MessageServer
from libs.messaging.nats_connection import flush_to_server
from tests.support.in_process.gateway_stage import (
    ADMIN,
    DEVELOPER,
    GatewayStage,
    command_result,
    open_gateway_stage,
    running_gateway,
)
from tests.support.infrastructure.servers import running_nats
from tests.support.waiting import eventually

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
RUNNER = RunnerProfile(
    runner_id=7, runner_uuid="r-7", name="seven", tags=("linux",), owner_type="GLOBAL", owner_id=None
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
PROJECT = LaunchedProject(
    project_id=84,
    name="Mill",
    owner_alias="ivan",
    alias="mill",
    repository="https://forge.example/mill.git",
    branch="main",
    spec_file_path="/ci.yaml",
)
SHA = "f9a06e6e677efa280834f7bb7d17f5355f1e31df"
ASSIGNMENT = Assignment(
    job_id=11,
    job_uuid="j-11",
    build_id=17,
    attempt=1,
    token="job-token",
    name="build",
    stage="build",
    ref="main",
    sha=SHA,
    project=PROJECT,
    script=("echo hello",),
    variables=(JobVariable(key="KEY", value="hush", masked=True), JobVariable(key="CI_COMMIT_SHA", value=SHA)),
    image=None,
    timeout_seconds=3600,
    queued_at=NOON,
)
QUEUED_JOB = JobQueued(
    job_id=11,
    job_uuid="j-11",
    build_id=17,
    project_id=84,
    owner_alias="ivan",
    attempt=1,
    ref="main",
    sha=SHA,
    project=PROJECT,
    job=PlannedJob(job_id=11, job_uuid="j-11", name="build"),
)
HOLD_SECONDS = 0.4
TOKEN = {"RUNNER-TOKEN": "runner-token"}
JOB_TOKEN = {"JOB-TOKEN": "job-token"}


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayStage]:
    with running_nats(tmp_path_factory.mktemp("bus")) as server:
        async with open_gateway_stage(server.program.url, long_poll_seconds=HOLD_SECONDS) as running:
            yield running


@pytest.fixture(scope="module")
async def patient(stage: GatewayStage) -> AsyncIterator[GatewayStage]:
    """Return another gateway stage whose long poll timeout is longer than a test takes."""
    settings = replace(stage.gateway.state.settings, long_poll_seconds=60)
    async with (
        running_gateway(settings) as (gateway, server, url),
        httpx.AsyncClient(base_url=url, timeout=20) as http,
    ):
        yield replace(stage, http=http, gateway=gateway, server=server)


@pytest.fixture(autouse=True)
async def one_runner_and_no_job(stage: GatewayStage) -> None:
    stage.services.received.clear()
    await stage.services.serve(AuthenticateRunner, lambda _: RUNNER)
    await stage.services.serve(ClaimJob, lambda _: ClaimResult(assignment=None))


def start_job_request(here: GatewayStage, **more: Any) -> "asyncio.Task[httpx.Response]":
    return asyncio.create_task(here.http.post("/api/v4/jobs/request", json={"token": "runner-token"}, **more))


async def wait_for_held_requests(here: GatewayStage, count: int = 1) -> None:
    """Wait until this many job requests are held and each has sent a claim."""

    async def all_held() -> bool:
        return len(here.gateway.state.long_polls) == count and len(here.services.received_of(ClaimJob)) >= count

    await eventually(all_held, bool, within=5)


async def hang_up(here: GatewayStage, requests: "list[asyncio.Task[httpx.Response]]") -> None:
    for request in requests:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)
    await eventually(lambda: asyncio.sleep(0, len(here.gateway.state.long_polls)), lambda count: count == 0, within=10)


async def publish_queued_job(here: GatewayStage, job: JobQueued = QUEUED_JOB) -> None:
    await here.client.publish(JOB_QUEUED_SUBJECT.replace("*", f"job-{job.job_id}"), job.model_dump_json().encode())
    await flush_to_server(here.client)


# ---- registration


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
    answer = await stage.http.post("/api/v4/runners", json=body)
    assert answer.status_code == 201
    assert answer.json() == {"id": 7, "token": "new", "token_expires_at": None}
    command = stage.services.received_of(RegisterRunner)[0].message
    assert (command.tags, command.run_untagged, command.protected) == (("linux", "docker"), False, True)
    assert (command.max_timeout_seconds, command.active, command.info.platform) == (60, False, "linux")
    assert command.ip_address == "127.0.0.1"


@pytest.mark.parametrize("wrong", [{"access_level": "protected"}, {"tag_list": [1, 2]}, {"tag_list": {"a": "b"}}])
async def test_an_invalid_runner_setting_is_rejected_at_registration(
    stage: GatewayStage, wrong: dict[str, Any]
) -> None:
    answer = await stage.http.post("/api/v4/runners", json={"token": "registration", **wrong})
    assert answer.status_code == 422
    assert stage.services.received_of(RegisterRunner) == []


async def test_an_administrator_resets_a_runner_token_by_runner_id(stage: GatewayStage) -> None:
    await stage.services.serve(GetRunner, lambda _: RUNNER_VIEW)
    await stage.services.serve(ResetRunnerToken, lambda _: RunnerRegistration(id=7, uuid="r-7", token="new"))
    path = "/api/v4/runners/7/reset_authentication_token"
    answer = await stage.http.post(path, headers={"PRIVATE-TOKEN": stage.users.token(ADMIN)})
    assert (answer.status_code, answer.json()["token"]) == (201, "new")
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
    answer = await stage.http.post("/api/v4/runners", data=form)
    assert answer.status_code == 201
    command = stage.services.received_of(RegisterRunner)[0].message
    assert (command.tags, command.run_untagged, command.registration_token) == (("a", "b"), False, "registration")


async def test_a_runner_registers_at_the_path_of_gitflic(stage: GatewayStage) -> None:
    await stage.services.serve(RegisterRunner, lambda _: RunnerRegistration(id=7, uuid="r-7", token="new"))
    body = {"token": "registration", "name": "a box", "tags": ["a", "b"], "runUntagged": False, "platform": "linux"}
    answer = await stage.http.post("/-/runner/registration", json=body)
    assert answer.status_code == 201
    assert answer.json() == {"id": 7, "uuid": "r-7", "token": "new", "token_expires_at": None}
    command = stage.services.received_of(RegisterRunner)[0].message
    assert (command.name, command.tags, command.run_untagged, command.info.platform) == (
        "a box",
        ("a", "b"),
        False,
        "linux",
    )


async def test_a_wrong_registration_token_is_403_at_the_path_of_gitflic(stage: GatewayStage) -> None:
    await stage.services.serve(RegisterRunner, refuse_registration)
    answer = await stage.http.post("/-/runner/registration", json={"token": "wrong"})
    assert (answer.status_code, answer.json()["message"]) == (403, "REGISTRATION_TOKEN")


def refuse_registration(_command: RegisterRunner) -> None:
    raise RequestRejected("REGISTRATION_TOKEN")


async def test_a_wrong_registration_token_is_403_with_a_message_for_people(stage: GatewayStage) -> None:
    await stage.services.serve(RegisterRunner, refuse_registration)
    answer = await stage.http.post("/api/v4/runners", json={"token": "wrong"})
    assert answer.status_code == 403
    assert answer.json() == {"message": "The registration token is invalid."}


async def test_a_runner_verifies_its_token(stage: GatewayStage) -> None:
    answer = await stage.http.post("/api/v4/runners/verify", json={"token": "runner-token", "system_id": "s"})
    assert (answer.status_code, answer.json()) == (200, {"id": 7, "token": "runner-token", "token_expires_at": None})


async def test_a_runner_unregisters_itself(stage: GatewayStage) -> None:
    await stage.services.serve(DeleteRunner, lambda _: command_result("runner-r-7"))
    answer = await stage.http.request("DELETE", "/api/v4/runners", data={"token": "runner-token"})
    assert answer.status_code == 204
    assert stage.services.received_of(DeleteRunner)[0].message == DeleteRunner(runner_uuid="r-7")


# ---- job requests


async def test_a_queued_job_is_assigned_at_once(stage: GatewayStage) -> None:
    await stage.services.serve(ClaimJob, lambda _: ClaimResult(assignment=ASSIGNMENT))
    answer = await start_job_request(stage)
    assert (answer.status_code, answer.headers["Content-Type"]) == (201, "application/json")
    job = answer.json()
    assert (job["id"], job["token"], job["steps"][0]["script"]) == (11, "job-token", ["echo hello"])
    assert job["git_info"]["refspecs"] == ["+refs/heads/main:refs/remotes/origin/main"]
    assert {"key": "KEY", "value": "hush", "public": False, "masked": True, "file": False, "raw": True} in job[
        "variables"
    ]
    plain = {variable["key"]: variable["value"] for variable in job["variables"]}
    assert (plain["CI_COMMIT_SHA"], plain["CI_CONFIG_PATH"].startswith(".headrace/")) == (SHA, True)
    assert stage.services.received_of(ClaimJob)[0].message.runner.tags == ("linux",)


@pytest.mark.parametrize(
    ("info", "can"),
    [
        ({"features": {"cancel_gracefully": True}}, True),
        ({"features": {"cancel_gracefully": False}}, False),
        ({"features": ["cancel_gracefully"]}, False),
        ({}, False),
        ("nothing", False),
    ],
)
async def test_graceful_cancel_is_used_only_for_runners_that_announce_it(
    stage: GatewayStage, info: Any, can: bool
) -> None:
    await stage.services.serve(ClaimJob, lambda _: ClaimResult(assignment=ASSIGNMENT))
    await stage.http.post("/api/v4/jobs/request", json={"token": "runner-token", "info": info})
    assert stage.services.received_of(ClaimJob)[0].message.runner.cancels_gracefully is can


async def test_a_job_request_without_a_job_is_held_for_the_long_poll_timeout(stage: GatewayStage) -> None:
    started = time.monotonic()
    answer = await start_job_request(stage)
    assert answer.status_code == 204
    assert answer.headers["X-GitLab-Last-Update"]
    assert time.monotonic() - started >= HOLD_SECONDS
    assert len(stage.gateway.state.long_polls) == 0


async def test_a_held_job_request_gets_a_newly_queued_job_at_once(patient: GatewayStage) -> None:
    request = start_job_request(patient)
    await wait_for_held_requests(patient)
    await patient.services.serve(ClaimJob, lambda _: ClaimResult(assignment=ASSIGNMENT))
    await publish_queued_job(patient)
    async with asyncio.timeout(5):  # far less than its long poll timeout of a minute
        answer = await request
    assert answer.json()["id"] == 11


async def test_one_queued_job_wakes_one_of_many_held_requests(stage: GatewayStage, patient: GatewayStage) -> None:
    requests = [start_job_request(patient) for _ in range(50)]
    await wait_for_held_requests(patient, 50)
    stage.services.received.clear()
    await publish_queued_job(stage)
    await eventually(lambda: count_claims(stage), bool, within=10)
    await asyncio.sleep(HOLD_SECONDS)  # a second claim would arrive in this time
    assert await count_claims(stage) == 1
    await hang_up(patient, requests)


async def test_each_gateway_wakes_at_most_one_held_request_per_job(stage: GatewayStage, patient: GatewayStage) -> None:
    async with (
        running_gateway(patient.gateway.state.settings) as (second, _, url),
        httpx.AsyncClient(base_url=url, timeout=20) as other_http,
    ):
        request_body = {"token": "runner-token"}
        requests = [start_job_request(patient) for _ in range(10)]
        requests += [asyncio.create_task(other_http.post("/api/v4/jobs/request", json=request_body)) for _ in range(10)]
        await wait_for_held_requests(patient, 10)
        await eventually(lambda: count_claims(stage), lambda count: count == 20, within=5)
        assert len(second.state.long_polls) == 10
        stage.services.received.clear()
        await publish_queued_job(stage)
        await eventually(lambda: count_claims(stage), lambda count: count == 2, within=10)
        await asyncio.sleep(HOLD_SECONDS)  # a third claim would arrive in this time
        await hang_up(patient, requests)
        assert await count_claims(stage) == 2


async def test_a_held_request_woken_in_vain_stays_held(patient: GatewayStage) -> None:
    request = start_job_request(patient)
    await wait_for_held_requests(patient)
    await publish_queued_job(patient)
    await eventually(lambda: count_claims(patient), lambda count: count == 2, within=10)
    await patient.services.serve(ClaimJob, lambda _: ClaimResult(assignment=ASSIGNMENT))
    await publish_queued_job(patient)
    assert (await request).status_code == 201


async def test_a_request_with_the_current_last_update_sends_no_claim(stage: GatewayStage) -> None:
    known = {"token": "runner-token", "last_update": (await start_job_request(stage)).headers["X-GitLab-Last-Update"]}
    stage.services.received.clear()
    again = await stage.http.post("/api/v4/jobs/request", json=known)
    assert (again.status_code, again.headers["X-GitLab-Last-Update"]) == (204, known["last_update"])
    assert await count_claims(stage) == 0
    await publish_queued_job(stage)
    other = await stage.http.post("/api/v4/jobs/request", json=known)
    assert other.headers["X-GitLab-Last-Update"] != known["last_update"]
    assert await count_claims(stage) == 1


async def test_a_held_request_with_the_current_last_update_is_woken_by_a_new_job(
    stage: GatewayStage, patient: GatewayStage
) -> None:
    known = {"token": "runner-token", "last_update": (await start_job_request(stage)).headers["X-GitLab-Last-Update"]}
    request = asyncio.create_task(patient.http.post("/api/v4/jobs/request", json=known))
    await wait_for_held_requests(patient)
    await patient.services.serve(ClaimJob, lambda _: ClaimResult(assignment=ASSIGNMENT))
    await publish_queued_job(patient)
    assert (await request).status_code == 201


async def count_claims(here: GatewayStage) -> int:
    return len(here.services.received_of(ClaimJob))


async def test_a_disconnected_client_is_removed_from_the_held_requests(
    stage: GatewayStage, patient: GatewayStage
) -> None:
    request = start_job_request(patient)
    await wait_for_held_requests(patient)
    request.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await request
    await eventually(
        lambda: asyncio.sleep(0, len(patient.gateway.state.long_polls)), lambda count: count == 0, within=10
    )
    stage.services.received.clear()
    await publish_queued_job(stage)
    assert (await start_job_request(stage)).status_code == 204
    assert len(stage.services.received_of(ClaimJob)) == 1  # of the later request


async def test_a_paused_runner_sends_no_claim(stage: GatewayStage) -> None:
    await stage.services.serve(AuthenticateRunner, lambda _: RUNNER.replace(active=False))
    answer = await start_job_request(stage)
    assert answer.status_code == 204
    assert stage.services.received_of(ClaimJob) == []


async def test_a_runner_edit_applies_to_a_held_request_at_once(patient: GatewayStage) -> None:
    request = start_job_request(patient)
    await wait_for_held_requests(patient)
    await patient.services.serve(AuthenticateRunner, lambda _: RUNNER.replace(tags=("linux", "gpu")))
    await patient.services.serve(ClaimJob, lambda _: ClaimResult(assignment=ASSIGNMENT))
    edited = b'{"runner_uuid": "r-7", "runner_id": 7}'
    await patient.client.publish("hint.runners.runner-r-7.RunnerEdited", edited)
    assert (await request).status_code == 201
    assert patient.services.received_of(ClaimJob)[-1].message.runner.tags == ("linux", "gpu")


def refuse_runner(_command: AuthenticateRunner) -> None:
    raise RequestRejected("RUNNER_TOKEN")


async def test_an_unknown_runner_token_is_403(stage: GatewayStage) -> None:
    await stage.services.serve(AuthenticateRunner, refuse_runner)
    assert (await start_job_request(stage)).status_code == 403


async def list_returned_claims(here: GatewayStage) -> list[str | None]:
    return [received.command_id for received in here.services.received_of(ReturnClaim)]


async def test_a_claim_for_a_disconnected_client_is_returned(patient: GatewayStage) -> None:
    await patient.services.serve(ReturnClaim, lambda _: ClaimReturned(job_id=11))
    request = start_job_request(patient)
    await wait_for_held_requests(patient)
    (waiter,) = patient.gateway.state.long_polls._polls

    async def once_the_client_is_gone(_body: bytes, _headers: Mapping[str, str]) -> bytes:
        request.cancel()
        await eventually(lambda: asyncio.sleep(0, waiter.is_disconnected), bool, within=5)
        return b"the body"

    bodies = MessageServer(patient.client, "projects")
    await bodies.serve(GetWebhookPayload, once_the_client_is_gone)
    await patient.services.serve(ClaimJob, lambda _: ClaimResult(assignment=ASSIGNMENT.replace(delivery_id="d-1")))
    await publish_queued_job(patient)
    found = await eventually(lambda: list_returned_claims(patient), bool, within=5)
    await bodies.stop(1)
    assert found == [patient.services.received_of(ClaimJob)[-1].command_id]


def raise_service_timeout(_command: Any) -> None:
    raise RequestRejected("SERVICE_TIMEOUT")


async def test_an_unanswered_claim_is_returned_and_the_return_is_retried(stage: GatewayStage) -> None:
    answers: Iterator[Callable[[], Any]] = iter(
        [lambda: raise_service_timeout(ClaimJob), lambda: ClaimReturned(job_id=None)]
    )

    await stage.services.serve(ClaimJob, raise_service_timeout)
    await stage.services.serve(ReturnClaim, lambda _: next(answers)())
    answer = await start_job_request(stage)
    claimed = stage.services.received_of(ClaimJob)[0].command_id
    assert (answer.status_code, await list_returned_claims(stage)) == (504, [claimed, claimed])


async def test_a_claim_is_returned_if_the_webhook_payload_cannot_be_loaded(stage: GatewayStage) -> None:
    await stage.services.serve(ClaimJob, lambda _: ClaimResult(assignment=ASSIGNMENT.replace(delivery_id="d-1")))
    await stage.services.serve(ReturnClaim, lambda _: ClaimReturned(job_id=11))
    assert (await start_job_request(stage)).status_code == 503
    assert await list_returned_claims(stage) == [stage.services.received_of(ClaimJob)[0].command_id]


async def test_a_repeated_request_id_is_the_same_claim_at_another_gateway(
    stage: GatewayStage,
) -> None:
    await stage.services.serve(ClaimJob, lambda _: ClaimResult(assignment=ASSIGNMENT))
    body, name = {"token": "runner-token"}, {"X-Request-Id": "4f7c2f4d6c1c4e0f9a2f3b1c0d5e6f70"}
    async with (
        running_gateway(stage.gateway.state.settings) as (_, _, url),
        httpx.AsyncClient(base_url=url, timeout=20) as other_http,
    ):
        await stage.http.post("/api/v4/jobs/request", json=body, headers=name)
        await other_http.post("/api/v4/jobs/request", json=body, headers=name)
    await stage.http.post("/api/v4/jobs/request", json=body, headers={"X-Request-Id": "1"})
    await stage.http.post("/api/v4/jobs/request", json=body, headers={"X-Request-Id": "1"})
    first, again, other, another = [received.command_id for received in stage.services.received_of(ClaimJob)]
    assert first == again
    assert len({first, other, another}) == 3


# ---- logs and job states


async def test_a_log_chunk_is_stored_at_the_offset_of_its_content_range(stage: GatewayStage) -> None:
    state = TraceState(job_status="running", length=12, accepted=True)
    await stage.services.serve(AppendTrace, lambda _: state)
    headers = JOB_TOKEN | {"Content-Range": "7-12", "Content-Type": "text/plain"}
    answer = await stage.http.patch("/api/v4/jobs/11/trace?debug_trace=false", content=b"hello", headers=headers)
    assert answer.status_code == 202
    assert (answer.headers["Job-Status"], answer.headers["Range"]) == ("running", "0-12")
    assert answer.headers["X-GitLab-Trace-Update-Interval"] == "1"
    command = stage.services.received_of(AppendTrace)[0].message
    assert (command.job_id, command.token, command.offset, command.content) == (11, "job-token", 7, b"hello")


async def test_a_large_log_chunk_is_forwarded_in_parts(stage: GatewayStage) -> None:
    await stage.services.serve(
        AppendTrace,
        lambda command: TraceState(job_status="running", length=command.offset + len(command.content), accepted=True),
    )
    log = bytes(range(256)) * 4096
    answer = await stage.http.patch(
        "/api/v4/jobs/11/trace", content=log, headers=JOB_TOKEN | {"Content-Range": f"0-{len(log) - 1}"}
    )
    assert answer.headers["Range"] == f"0-{len(log)}"
    commands = [received.message for received in stage.services.received_of(AppendTrace)]
    assert [command.offset for command in commands] == [0, 512 * 1024]
    assert zlib.crc32(b"".join(command.content for command in commands)) == zlib.crc32(log)


async def test_an_empty_log_chunk_is_accepted(stage: GatewayStage) -> None:
    await stage.services.serve(AppendTrace, lambda _: TraceState(job_status="running", length=5, accepted=True))
    answer = await stage.http.patch("/api/v4/jobs/11/trace", headers=JOB_TOKEN | {"Content-Range": "5-5"})
    assert answer.status_code == 202


async def test_a_log_chunk_without_a_content_range_is_400(stage: GatewayStage) -> None:
    assert (await stage.http.patch("/api/v4/jobs/11/trace", content=b"x", headers=JOB_TOKEN)).status_code == 400


def refuse_range(_command: AppendTrace) -> None:
    raise RequestRejected("LOG_RANGE", "5")


async def test_a_log_chunk_at_a_wrong_offset_is_416_with_the_stored_range(stage: GatewayStage) -> None:
    await stage.services.serve(AppendTrace, refuse_range)
    headers = JOB_TOKEN | {"Content-Range": "9-9"}
    answer = await stage.http.patch("/api/v4/jobs/11/trace", content=b"x", headers=headers)
    assert (answer.status_code, answer.headers["Range"]) == (416, "0-5")


def refuse_job_token(_command: AppendTrace) -> None:
    raise RequestRejected("JOB_TOKEN")


async def test_an_unknown_job_token_is_403(stage: GatewayStage) -> None:
    await stage.services.serve(AppendTrace, refuse_job_token)
    headers = JOB_TOKEN | {"Content-Range": "0-0"}
    answer = await stage.http.patch("/api/v4/jobs/11/trace", content=b"x", headers=headers)
    assert (answer.status_code, answer.json().keys()) == (403, {"message"})


async def test_a_canceled_job_is_reported_in_the_job_status_header(stage: GatewayStage) -> None:
    over = TraceState(job_status="canceled", length=5, accepted=False)
    await stage.services.serve(AppendTrace, lambda _: over)
    await stage.services.serve(ReportJob, lambda _: over)
    trace = await stage.http.patch("/api/v4/jobs/11/trace", content=b"x", headers=JOB_TOKEN | {"Content-Range": "5-5"})
    state = await stage.http.put("/api/v4/jobs/11", json={"token": "job-token", "state": "running"})
    assert [(response.status_code, response.headers["Job-Status"]) for response in (trace, state)] == [
        (403, "canceled")
    ] * 2


async def test_a_canceling_job_is_reported_in_the_job_status_header(stage: GatewayStage) -> None:
    ending = TraceState(job_status="canceling", length=5, accepted=True)
    await stage.services.serve(AppendTrace, lambda _: ending)
    await stage.services.serve(ReportJob, lambda _: ending)
    trace = await stage.http.patch("/api/v4/jobs/11/trace", content=b"x", headers=JOB_TOKEN | {"Content-Range": "4-4"})
    state = await stage.http.put("/api/v4/jobs/11", json={"token": "job-token", "state": "running"})
    assert (trace.status_code, trace.headers["Job-Status"]) == (202, "canceling")
    assert (state.status_code, state.headers["Job-Status"]) == (200, "canceling")


async def test_a_final_job_state_is_forwarded(stage: GatewayStage) -> None:
    await stage.services.serve(ReportJob, lambda _: TraceState(job_status="failed", length=5, accepted=True))
    body = {
        "token": "job-token",
        "state": "failed",
        "failure_reason": "script_failure",
        "exit_code": 3,
        "output": {"checksum": "crc32:3610a686", "bytesize": 5},
    }
    answer = await stage.http.put("/api/v4/jobs/11", json=body)
    assert (answer.status_code, answer.text) == (200, "200")
    assert stage.services.received_of(ReportJob)[0].message == ReportJob(
        job_id=11,
        token="job-token",
        state="failed",
        exit_code=3,
        failure_reason="script_failure",
        checksum="crc32:3610a686",
        bytesize=5,
    )


def refuse_checksum(_command: ReportJob) -> None:
    raise RequestRejected("LOG_CHECKSUM")


@pytest.mark.parametrize("reason", ["x" * 65, "a\x1b[31mb", "Made up!", "line\nbreak"])
async def test_an_invalid_failure_reason_becomes_unknown_failure(stage: GatewayStage, reason: str) -> None:
    await stage.services.serve(ReportJob, lambda _: TraceState(job_status="failed", length=0, accepted=True))
    sent = {"token": "job-token", "state": "failed", "failure_reason": reason}
    assert (await stage.http.put("/api/v4/jobs/11", json=sent)).status_code == 200
    assert stage.services.received_of(ReportJob)[0].message.failure_reason == "unknown_failure"


async def test_a_log_checksum_mismatch_is_412(stage: GatewayStage) -> None:
    await stage.services.serve(ReportJob, refuse_checksum)
    answer = await stage.http.put("/api/v4/jobs/11", json={"state": "success"}, headers=JOB_TOKEN)
    assert answer.status_code == 412


@pytest.mark.parametrize(
    "body", [{"state": "dancing"}, {}, {"state": ["failed"]}, {"state": "failed", "exit_code": []}]
)
async def test_an_invalid_job_state_is_a_client_error(stage: GatewayStage, body: dict[str, Any]) -> None:
    answer = await stage.http.put("/api/v4/jobs/11", json=body, headers=JOB_TOKEN)
    assert 400 <= answer.status_code < 500


# ---- shutdown


async def test_a_stopping_gateway_answers_held_requests(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_nats(tmp_path_factory.mktemp("bus")) as server:
        async with open_gateway_stage(server.program.url, long_poll_seconds=60) as here:
            await here.services.serve(AuthenticateRunner, lambda _: RUNNER)
            await here.services.serve(ClaimJob, lambda _: ClaimResult(assignment=None))
            request = start_job_request(here)
            await wait_for_held_requests(here)
            here.server.begin_shutdown()
            answer = await asyncio.wait_for(request, 5)
    assert (answer.status_code, answer.headers["connection"]) == (204, "close")


async def test_a_draining_gateway_still_serves_and_closes_its_connections(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running_nats(tmp_path_factory.mktemp("bus")) as server:
        async with open_gateway_stage(server.program.url, long_poll_seconds=60, leave_seconds=60) as here:
            await here.services.serve(AuthenticateRunner, lambda _: RUNNER)
            await here.services.serve(ClaimJob, lambda _: ClaimResult(assignment=None))
            request = start_job_request(here)
            await wait_for_held_requests(here)
            here.server.begin_shutdown()
            for path, status in (("/readyz", 503), ("/api/openapi.json", 200)):
                answer = await here.http.get(path)
                assert (answer.status_code, answer.headers["connection"]) == (status, "close")
            assert not request.done()
            here.server.begin_shutdown()
            answer = await asyncio.wait_for(request, 5)
    assert (answer.status_code, answer.headers["connection"]) == (204, "close")
