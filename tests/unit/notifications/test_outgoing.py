"""Commands to an outgoing request: repetitions, failed attempts, and its end."""

import pytest

from contracts.notifications import NotificationStatus, OutgoingAttemptFailed, OutgoingEnded, OutgoingRequested
from services.notifications.domain.internal_commands import (
    AddOutgoingRequest,
    EndOutgoingRequest,
    RecordAttemptFailure,
)
from services.notifications.domain.outgoing import outgoing_decider
from tests.support.scenario import Scenario

FIELDS = {
    "request_id": "r",
    "kind": "commit_status",
    "project_id": 3,
    "build_id": 17,
    "target": "gitlab",
    "sha": "abc",
    "state": "success",
}
add = AddOutgoingRequest(**FIELDS)  # type: ignore[arg-type]
requested = OutgoingRequested.model_validate(FIELDS)
fail = RecordAttemptFailure(request_id="r", attempt=1, reason="no answer")
failed = OutgoingAttemptFailed(request_id="r", attempt=1, reason="no answer")
sent = OutgoingEnded(request_id="r", status=NotificationStatus.SENT)

outgoing = Scenario(outgoing_decider)


def test_a_request_is_added_once() -> None:
    outgoing.when(add).then(requested)
    outgoing.given(requested).when(add).then()


def test_a_failed_attempt_of_a_request_is_recorded_once() -> None:
    outgoing.given(requested).when(fail).then(failed)
    outgoing.given(requested, failed).when(fail).then()


@pytest.mark.parametrize("command", [fail, EndOutgoingRequest(request_id="r", status=NotificationStatus.ABANDONED)])
def test_an_ended_request_does_not_change(command: RecordAttemptFailure | EndOutgoingRequest) -> None:
    outgoing.given(requested, sent).when(command).then()


def test_an_unknown_request_is_not_found() -> None:
    outgoing.when(fail).then_refused("NOT_FOUND")
