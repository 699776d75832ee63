"""A user's own password and e-mail address, changed with the current password, and the list of e-mails."""

import pytest

from contracts.errors import RequestRejected
from contracts.identity import ChangeEmail, ChangePassword, LogIn, Session
from contracts.messages import CommandReply, Page
from contracts.notifications import ListNotifications, NotificationRow
from tests.support.in_process.gateway_stage import DEVELOPER, GatewayStage

CHANGED = CommandReply(stream="user-2", version=2, row={})


@pytest.fixture
async def right_password(stage: GatewayStage) -> None:
    await stage.services.serve(LogIn, lambda _: Session(access_token="a.b.c", expires_in=1))
    await stage.services.serve(ChangePassword, lambda _: CHANGED)
    await stage.services.serve(ChangeEmail, lambda _: CHANGED)


def refuse_log_in(_command: LogIn) -> Session:
    raise RequestRejected("UNAUTHORIZED")


async def test_the_present_password_is_checked_like_a_sign_in(stage: GatewayStage, right_password: None) -> None:
    body = {"current_password": "old one", "password": "new one"}
    response = await stage.http.patch("/api/user/password", json=body, headers=stage.developer)
    assert response.status_code == 204
    (log_in,) = stage.services.received_of(LogIn)
    assert log_in.message == LogIn(username="user2", password="old one", ip_address="127.0.0.1")
    (change,) = stage.services.received_of(ChangePassword)
    assert (change.message, change.actor.id) == (ChangePassword(user_id=DEVELOPER, password="new one"), DEVELOPER)


async def test_nothing_changes_with_a_wrong_password(stage: GatewayStage, right_password: None) -> None:
    await stage.services.serve(LogIn, refuse_log_in)
    for path, change in (("password", {"password": "new one"}), ("email", {"email": "new@example.org"})):
        body = {"current_password": "guess", **change}
        response = await stage.http.patch(f"/api/user/{path}", json=body, headers=stage.developer)
        assert (response.status_code, response.json()["message"]) == (422, "PASSWORD_WRONG")
    assert not stage.services.received_of(ChangePassword)
    assert not stage.services.received_of(ChangeEmail)


async def test_the_email_address_can_be_removed(stage: GatewayStage, right_password: None) -> None:
    body = {"current_password": "old one", "email": None}
    assert (await stage.http.patch("/api/user/email", json=body, headers=stage.developer)).status_code == 204
    assert stage.services.received_of(ChangeEmail)[0].message == ChangeEmail(user_id=DEVELOPER, email=None)


async def test_mails_are_listed_in_pages(stage: GatewayStage) -> None:
    row = NotificationRow(id="n", title="Build 1 failed", reason="refused").model_dump(mode="json")
    await stage.services.serve(ListNotifications, lambda _: Page(rows=(row,), next="cursor"))
    found = await stage.http.get("/api/admin/notifications?limit=1&after=x", headers=stage.admin)
    assert (found.json()["next"], found.json()["notifications"][0]["reason"]) == ("cursor", "refused")
    assert stage.services.received_of(ListNotifications)[0].message == ListNotifications(limit=1, after="x")
