"""Who was disabled, demoted or given another password is out at once, whichever gateway is asked."""

import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.stacks.running_stack import RunningStack

GATEWAYS = 2
OUT = {401}
CHANGES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "disabled": ("enabled", {"enabled": False}),
    "given another password": ("password", {"password": "quite another one"}),
    "given other roles": ("roles", {"roles": []}),
}


def statuses(client: httpx.Client) -> set[int]:
    """Of many requests, each of which meets a gateway by chance."""
    return {client.get("/user/info").status_code for _ in range(8 * GATEWAYS)}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_user_loses_access_on_all_gateways_within_two_seconds(change: str, stack: RunningStack) -> None:
    name = f"leaver-{uuid4().hex[:8]}"
    user = stack.create("developer", username=name, password="a good one", roles=["ROLE_DEVELOPER"])
    with stack.sign_in(name, "a good one") as client:
        assert statuses(client) == {200}
        part, fields = CHANGES[change]
        answer = stack.admin.patch(f"/admin/developers/{user['id']}/{part}", json={"developer": fields})
        assert answer.status_code == 200, answer.text
        deadline = time.monotonic() + 2
        while (found := statuses(client)) != OUT:
            assert time.monotonic() < deadline, found


def test_a_disabled_user_cannot_sign_in(stack: RunningStack) -> None:
    name = f"leaver-{uuid4().hex[:8]}"
    user = stack.create("developer", username=name, password="a good one", roles=["ROLE_DEVELOPER"])
    stack.admin.patch(f"/admin/developers/{user['id']}/enabled", json={"developer": {"enabled": False}})
    with stack.create_client() as stranger:
        answer = stranger.post("/auth/token", json={"auth": {"username": name, "password": "a good one"}})
    assert answer.status_code == 401


def test_a_developer_cannot_use_administrator_routes(stack: RunningStack, good_project: int) -> None:
    name = f"developer-{uuid4().hex[:8]}"
    stack.create("developer", username=name, password="a good one", roles=["ROLE_DEVELOPER"])
    with stack.sign_in(name, "a good one") as client:
        assert client.get(f"/admin/projects/{good_project}").status_code == 403
        answer = client.post(f"/developer/builds/{good_project}", json={"build": {}})
    assert (answer.status_code, answer.json()["message"]) == (403, "LAUNCH_BUILD_NOT_ALLOWED")


def test_a_personal_token_works_on_both_apis_until_it_is_revoked(stack: RunningStack) -> None:
    token = stack.admin.post("/user/tokens", json={"token": {"name": "script"}}).raise_for_status().json()
    with stack.create_client() as script:

        def opened() -> list[int]:
            """Each API as its clients ask; of many requests, each meets a gateway by chance."""
            bearer, gitflic = ({"Authorization": f"{scheme} {token['value']}"} for scheme in ("Bearer", "token"))
            free_commit = [script.get("/developer/projects", headers=bearer) for _ in range(4 * GATEWAYS)]
            runners = [script.get(f"{stack.url}/rest-api/admin/runners", headers=gitflic) for _ in range(4 * GATEWAYS)]
            return sorted({answer.status_code for answer in (*free_commit, *runners)})

        assert opened() == [200]
        assert stack.admin.delete(f"/user/tokens/{token['id']}").status_code == 204
        deadline = time.monotonic() + 2
        while (found := opened()) != [401, 403]:
            assert time.monotonic() < deadline, found


def test_failed_sign_ins_are_rate_limited(stack: RunningStack) -> None:
    guess = {"auth": {"username": f"nobody-{uuid4().hex[:8]}", "password": "a good one"}}
    with stack.create_client() as stranger:
        answers = [stranger.post("/auth/token", json=guess) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert {answer.json()["message"] for answer in answers[:10]} == {"UNAUTHORIZED"}
    assert 1 <= int(answers[10].headers["Retry-After"]) <= 15


def test_rotating_the_signing_key_keeps_existing_sessions(stack: RunningStack) -> None:
    assert "keys verify them" in stack.run_headrace("rotate-keys").stdout
    name = f"user-{uuid4().hex[:8]}"
    stack.create("developer", username=name, password="a good one", roles=["ROLE_DEVELOPER"])
    with stack.sign_in(name, "a good one") as client:
        assert statuses(client) == {200}
    assert stack.admin.get("/user/info").status_code == 200
