"""The decider of receivers, their rows, and the validation of their fields."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import RequestRejected
from contracts.notifications import (
    DeleteReceiver,
    Occasion,
    ReceiverChanged,
    ReceiverCreated,
    ReceiverDeleted,
    ReceiverEvent,
    ReceiverKind,
)
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from services.notifications.domain.internal_commands import AddReceiver, UpdateReceiver
from services.notifications.domain.receiver import (
    receiver_decider,
    validate_events,
    validate_secret,
    validate_url,
)
from services.notifications.receivers.receiver_projection import ReceiverRow, apply_receiver_event
from tests.support.scenario import Scenario

AT = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
FAILED = (Occasion.FAILED,)
add = AddReceiver(5, 3, ReceiverKind.WEBHOOK, "https://a.test", "s1.url", "s1.secret", FAILED, active=True)
created = ReceiverCreated(
    receiver_id=3,
    project_id=5,
    kind=ReceiverKind.WEBHOOK,
    server="https://a.test",
    sealed_url="s1.url",
    sealed_secret="s1.secret",
    events=FAILED,
)
paused = ReceiverChanged(receiver_id=3, project_id=5, active=False)
deleted = ReceiverDeleted(receiver_id=3, project_id=5)
delete = DeleteReceiver(project_id=5, receiver_id=3)

receiver = Scenario(receiver_decider)


def test_a_receiver_is_added_once() -> None:
    receiver.when(add).then(created)
    receiver.given(created).when(add).then_refused("CONFLICT")


def test_only_changed_fields_are_recorded() -> None:
    change = UpdateReceiver(5, 3, events=FAILED, active=False)
    receiver.given(created).when(change).then(paused)
    receiver.given(created, paused).when(change).then()


def test_a_receiver_of_another_project_is_not_found() -> None:
    receiver.given(created).when(UpdateReceiver(6, 3, active=False)).then_refused("RECEIVER_NOT_FOUND")
    receiver.given(created).when(DeleteReceiver(project_id=6, receiver_id=3)).then_refused("RECEIVER_NOT_FOUND")


def test_a_receiver_is_deleted_once() -> None:
    receiver.given(created).when(delete).then(deleted)
    receiver.given(created, deleted).when(delete).then_refused("RECEIVER_NOT_FOUND")
    receiver.given(created, deleted).when(add).then_refused("RECEIVER_NOT_FOUND")


def apply(row: ReceiverRow, event: ReceiverEvent) -> ReceiverRow:
    return apply_receiver_event(row, RecordedEvent("receiver-3", 1, 0, event, CommandMetadata("c", AT)))


def test_the_row_follows_the_events() -> None:
    row = apply(ReceiverRow(), created)
    assert (row.id, row.server, row.active, row.created_at) == (3, "https://a.test", True, AT)
    row = apply(row, paused)
    assert (row.active, row.sealed_url, row.events) == (False, "s1.url", FAILED)
    assert apply(row, deleted) == ReceiverRow()


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("https://hooks.example.org/x?token=canary", "https://hooks.example.org"),
        (" http://10.0.0.1:8080/x ", "http://10.0.0.1:8080"),
        ("https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443"),
        ("HTTPS://Hooks.Example.org", "https://hooks.example.org"),
    ],
)
def test_the_server_of_a_url_is_shown(url: str, server: str) -> None:
    assert validate_url(url) == (url.strip(), server)


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://a.test/x", "a.test/x", "https://", "https://user:canary@a.test/", "https://a.test/#part"),
        *("https://a.test/a b", "https://a.test:99999/", "https://[::1/", "https://\0.test/x"),
    ],
)
def test_other_urls_are_rejected(url: str) -> None:
    with pytest.raises(RequestRejected) as rejected:
        validate_url(url)
    assert rejected.value.code == "RECEIVER_URL_INVALID"
    assert "canary" not in rejected.value.failure.detail


@given(st.one_of(st.text(max_size=60), st.text(max_size=40).map("https://{}".format)))
def test_any_url_is_accepted_or_rejected_with_a_code(url: str) -> None:
    try:
        outcome = validate_url(url)[1]
    except RequestRejected as rejected:
        outcome = rejected.code
    assert outcome.startswith(("http://", "https://", "RECEIVER_URL_"))


@pytest.mark.parametrize("secret", ["x" * 16, "x" * 255, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
def test_a_webhook_has_a_secret(secret: str) -> None:
    assert validate_secret(ReceiverKind.WEBHOOK, secret) == secret


@pytest.mark.parametrize(
    ("kind", "secret"),
    [
        *((ReceiverKind.WEBHOOK, secret) for secret in (None, "", "x" * 15, "x" * 256, "\u00e9" * 20, "x" * 20 + "\n")),
        *(
            (ReceiverKind.WEBHOOK, f"whsec_{text}")
            for text in ("AAAA", "not base64, but long enough for all", "A" * 92)
        ),
        (ReceiverKind.SLACK, "x" * 20),
    ],
)
def test_other_secrets_are_rejected(kind: ReceiverKind, secret: str | None) -> None:
    with pytest.raises(RequestRejected) as rejected:
        validate_secret(kind, secret)
    assert rejected.value.code == "RECEIVER_SECRET_INVALID"


def test_events_have_a_fixed_order_and_a_default() -> None:
    assert validate_events((Occasion.FIXED, Occasion.STARTED, Occasion.FIXED)) == ("started", "fixed")
    assert validate_events(None) == ("failed", "fixed")
    with pytest.raises(RequestRejected) as rejected:
        validate_events(())
    assert rejected.value.code == "RECEIVER_EVENTS_INVALID"
