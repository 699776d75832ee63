"""Who was disabled, demoted or given another password is out at once, whichever gateway is asked."""

import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.stack import RunningStack

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
def test_within_two_seconds_everywhere_who_was(change: str, stack: RunningStack) -> None:
    name = f"leaver-{uuid4().hex[:8]}"
    user = stack.made("developer", username=name, password="a good one", roles=["ROLE_DEVELOPER"])
    with stack.log_in(name, "a good one") as client:
        assert statuses(client) == {200}
        part, fields = CHANGES[change]
        answer = stack.admin.patch(f"/admin/developers/{user['id']}/{part}", json={"developer": fields})
        assert answer.status_code == 200, answer.text
        deadline = time.monotonic() + 2
        while (found := statuses(client)) != OUT:
            assert time.monotonic() < deadline, found


def test_who_was_disabled_cannot_log_in(stack: RunningStack) -> None:
    name = f"leaver-{uuid4().hex[:8]}"
    user = stack.made("developer", username=name, password="a good one", roles=["ROLE_DEVELOPER"])
    stack.admin.patch(f"/admin/developers/{user['id']}/enabled", json={"developer": {"enabled": False}})
    with stack.client() as stranger:
        answer = stranger.post("/auth/token", json={"auth": {"username": name, "password": "a good one"}})
    assert answer.status_code == 401


def test_a_developer_is_no_administrator(stack: RunningStack, good_project: int) -> None:
    name = f"developer-{uuid4().hex[:8]}"
    stack.made("developer", username=name, password="a good one", roles=["ROLE_DEVELOPER"])
    with stack.log_in(name, "a good one") as client:
        assert client.get(f"/admin/projects/{good_project}").status_code == 403
        answer = client.post(f"/developer/builds/{good_project}", json={"build": {}})
    assert (answer.status_code, answer.json()["message"]) == (403, "LAUNCH_BUILD_NOT_ALLOWED")
