"""What is decided about a delivery, and in which order."""

from datetime import UTC, datetime

import pytest

from contracts.builds import QueueBuild
from contracts.projects import (
    IGNORED,
    Decision,
    DeliveryAccepted,
    DeliveryIgnored,
    DeliveryRefused,
    Push,
    RecordDelivery,
    Sender,
)
from libs.deciding import Actor, Cause, Recorded
from libs.testing.scenario import Scenario
from services.projects.delivery_views import DeliveryRow, delivery_view, describe_delivery
from services.projects.domain.delivery import delivery_decider
from services.projects.policies import on_projects

SHA = "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c"
AT = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
BEFORE = "1" * 40
main = Push(ref="refs/heads/main", sha=SHA, deleted=False, before=BEFORE)
ada = Sender(user_id=7, enabled=True, allowed=True)
record = RecordDelivery(
    delivery_id="d1",
    project_id=3,
    provider="github",
    event="push",
    forge_id="f1",
    branch="main",
    sealed_sender="sealed",
    sender=ada,
    push=main,
    size=2,
    digest="digest",
)
accepted = DeliveryAccepted(
    delivery_id="d1",
    project_id=3,
    provider="github",
    event="push",
    forge_id="f1",
    sealed_sender="sealed",
    user_id=7,
    ref="refs/heads/main",
    sha=SHA,
    before_sha=BEFORE,
    size=2,
    digest="digest",
)
refused = DeliveryRefused(
    delivery_id="d2",
    project_id=3,
    provider="github",
    event="push",
    size=2,
    code="WEBHOOK_SIGNATURE_INVALID",
    unrecorded=4,
)
delivery = Scenario(delivery_decider)


def ignored(command: RecordDelivery) -> DeliveryIgnored:
    [event] = delivery.when(command).events
    assert isinstance(event, DeliveryIgnored)
    return event


def test_a_push_of_the_branch_by_somebody_who_may_launch_is_accepted() -> None:
    delivery.when(record).then(accepted)


def test_any_branch_is_the_projects_where_it_names_none() -> None:
    topic = main.but(ref="refs/heads/topic/one")
    delivery.when(record.but(branch="*", push=topic)).then(accepted.but(ref="refs/heads/topic/one"))


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (record.but(sender=None), "WEBHOOK_SENDER_UNKNOWN"),
        (record.but(sender=None, push=None), "WEBHOOK_SENDER_UNKNOWN"),
        (record.but(sender=ada.but(enabled=False)), "WEBHOOK_SENDER_DISABLED"),
        (record.but(sender=ada.but(enabled=False, allowed=False)), "WEBHOOK_SENDER_DISABLED"),
        (record.but(sender=ada.but(allowed=False), push=None), "WEBHOOK_SENDER_NOT_ALLOWED"),
        (record.but(push=None), "WEBHOOK_EVENT_IGNORED"),
        (record.but(push=None, branch="*"), "WEBHOOK_EVENT_IGNORED"),
        (record.but(push=main.but(ref="refs/tags/main"), branch="*"), "WEBHOOK_REF_IGNORED"),
        (record.but(push=main.but(ref="main")), "WEBHOOK_REF_IGNORED"),
        (record.but(push=main.but(ref="")), "WEBHOOK_REF_IGNORED"),
        (record.but(push=main.but(deleted=True, sha="")), "WEBHOOK_BRANCH_DELETED"),
        (record.but(push=main.but(ref="refs/heads/Main")), "WEBHOOK_BRANCH_IGNORED"),
        (record.but(push=main.but(ref="refs/heads/topic", sha="")), "WEBHOOK_BRANCH_IGNORED"),
    ],
)
def test_the_first_reason_to_build_nothing_is_told(command: RecordDelivery, code: str) -> None:
    assert ignored(command).code == code
    assert code in IGNORED


def test_what_is_ignored_is_recorded_with_all_that_is_known() -> None:
    event = ignored(record.but(branch="release"))
    assert (event.user_id, event.ref, event.sha, event.forge_id) == (7, "refs/heads/main", SHA, "f1")


@pytest.mark.parametrize(
    "push",
    [
        main.but(sha=""),
        main.but(ref="refs/heads/"),
        main.but(ref="refs/heads/a:refs/heads/b"),
        main.but(ref="refs/heads/a..b"),
        main.but(ref="refs/heads/-a"),
        main.but(ref="refs/heads/a\x00b"),
    ],
)
def test_a_push_of_no_commit_or_of_no_branch_that_git_knows_is_refused(push: Push) -> None:
    delivery.when(record.but(branch="*", push=push)).then_refused("WEBHOOK_PAYLOAD_INVALID")


def test_what_is_decided_stays_decided() -> None:
    delivery.given(accepted).when(record.but(sender=None)).then()
    delivery.given(refused).when(record.but(delivery_id="d2")).then()


def test_an_accepted_push_is_built_at_its_commit_and_ref() -> None:
    recorded = Recorded("delivery-d1", 1, 0, accepted, Cause("c1", AT, Actor(7, "ada")))
    assert on_projects(recorded) == [
        QueueBuild(project_id=3, sha=SHA, ref="refs/heads/main", before_sha=BEFORE, source="push", delivery_id="d1")
    ]


def row_of(event: DeliveryAccepted | DeliveryIgnored | DeliveryRefused) -> DeliveryRow:
    return describe_delivery(DeliveryRow(), Recorded("delivery-d1", 1, 0, event, Cause("c1", AT)))


def test_an_accepted_delivery_names_its_build() -> None:
    view = delivery_view(row_of(accepted), "Ada")
    assert (view.decision, view.code, view.executor_id) == (Decision.ACCEPTED, None, "d1")
    assert view.reason == "A build of 0d1a26e6 on main is queued."
    assert (view.sender, view.body_size, view.received_at) == ("Ada", 2, AT)
    assert "sealed" not in view.model_dump_json()


def test_the_decision_is_told_in_words() -> None:
    assert delivery_view(row_of(ignored(record.but(push=None))), None).reason == "Only pushes build."
    view = delivery_view(row_of(refused), None)
    assert view.reason == "The signature or token is missing, or not made with the project's key."
    assert (view.executor_id, view.unrecorded, view.forge_id) == (None, 4, None)
