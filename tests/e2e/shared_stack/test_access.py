"""Users who are disabled, demoted or given another password lose access on every gateway."""

import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.stacks.running_stack import RunningStack

GATEWAYS = 2
UNAUTHORIZED = {401}
CHANGES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "disabled": ("enabled", {"enabled": False}),
    "password changed": ("password", {"password": "quite another one"}),
    "roles changed": ("roles", {"roles": []}),
}


def request_user_info(client: httpx.Client) -> set[int]:
    """Return the status codes of enough requests to reach every gateway."""
    return {client.get("/user/info").status_code for _ in range(8 * GATEWAYS)}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_user_loses_access_on_all_gateways_within_two_seconds(change: str, stack: RunningStack) -> None:
    name = f"user-{uuid4().hex[:8]}"
    user = stack.create("developer", username=name, password="a good one", roles=["ROLE_DEVELOPER"])
    with stack.sign_in(name, "a good one") as client:
        assert request_user_info(client) == {200}
        part, fields = CHANGES[change]
        response = stack.admin.patch(f"/admin/developers/{user['id']}/{part}", json={"developer": fields})
        assert response.status_code == 200, response.text
        time.sleep(2)  # the time within which a gateway must notice; on a busy machine the requests take longer
        assert request_user_info(client) == UNAUTHORIZED


def test_a_disabled_user_cannot_sign_in(stack: RunningStack) -> None:
    name = f"user-{uuid4().hex[:8]}"
    user = stack.create("developer", username=name, password="a good one", roles=["ROLE_DEVELOPER"])
    stack.admin.patch(f"/admin/developers/{user['id']}/enabled", json={"developer": {"enabled": False}})
    with stack.create_client() as anonymous:
        response = anonymous.post("/auth/token", json={"auth": {"username": name, "password": "a good one"}})
    assert response.status_code == 401


def test_a_developer_cannot_use_administrator_routes(stack: RunningStack, good_project: int) -> None:
    name = f"developer-{uuid4().hex[:8]}"
    stack.create("developer", username=name, password="a good one", roles=["ROLE_DEVELOPER"])
    with stack.sign_in(name, "a good one") as client:
        assert client.get(f"/admin/projects/{good_project}").status_code == 403
        response = client.post(f"/developer/builds/{good_project}", json={"build": {}})
    assert (response.status_code, response.json()["message"]) == (403, "LAUNCH_BUILD_NOT_ALLOWED")


def test_a_personal_token_works_on_both_apis_until_it_is_revoked(stack: RunningStack) -> None:
    token = stack.admin.post("/user/tokens", json={"token": {"name": "script"}}).raise_for_status().json()
    with stack.create_client() as script:

        def request_both_apis() -> list[int]:
            """Return the status codes of enough requests to reach both APIs at every gateway."""
            bearer, gitflic = ({"Authorization": f"{scheme} {token['value']}"} for scheme in ("Bearer", "token"))
            free_commit = [script.get("/developer/projects", headers=bearer) for _ in range(4 * GATEWAYS)]
            runners = [script.get(f"{stack.url}/rest-api/admin/runners", headers=gitflic) for _ in range(4 * GATEWAYS)]
            return sorted({response.status_code for response in (*free_commit, *runners)})

        assert request_both_apis() == [200]
        assert stack.admin.delete(f"/user/tokens/{token['id']}").status_code == 204
        time.sleep(2)
        assert request_both_apis() == [401, 403]


def test_failed_sign_ins_are_rate_limited(stack: RunningStack) -> None:
    guess = {"auth": {"username": f"unknown-{uuid4().hex[:8]}", "password": "a good one"}}
    with stack.create_client() as anonymous:
        responses = [anonymous.post("/auth/token", json=guess) for _ in range(11)]
    assert [response.status_code for response in responses] == [401] * 10 + [429]
    assert {response.json()["message"] for response in responses[:10]} == {"UNAUTHORIZED"}
    assert 1 <= int(responses[10].headers["Retry-After"]) <= 15


def test_rotating_the_signing_key_keeps_existing_sessions(stack: RunningStack) -> None:
    assert "keys are valid for verification" in stack.run_headrace("rotate-keys").stdout
    name = f"user-{uuid4().hex[:8]}"
    stack.create("developer", username=name, password="a good one", roles=["ROLE_DEVELOPER"])
    with stack.sign_in(name, "a good one") as client:
        assert request_user_info(client) == {200}
    assert stack.admin.get("/user/info").status_code == 200
