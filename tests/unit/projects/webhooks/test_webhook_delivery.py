"""The delivery decider: which webhook deliveries start a build, and reasons for ignoring others."""

from datetime import UTC, datetime

import pytest

from contracts.builds import QueueBuild
from contracts.projects import (
    IGNORE_REASONS,
    DeliveryAccepted,
    DeliveryDecision,
    DeliveryIgnored,
    DeliveryRejected,
    Push,
    Sender,
)
from libs.eventstore.decider import Actor, CommandMetadata, RecordedEvent
from services.projects.domain.delivery import delivery_decider
from services.projects.domain.internal_commands import AddDelivery
from services.projects.policies import on_project_event
from services.projects.webhooks.delivery_projection import DeliveryRow, apply_delivery_event, to_delivery_view
from tests.support.scenario import Scenario

SHA = "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c"
AT = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
BEFORE = "1" * 40
main = Push(ref="refs/heads/main", sha=SHA, deleted=False, before=BEFORE)
tag = main.replace(ref="refs/tags/v1", before="")
ada = Sender(user_id=7, enabled=True, allowed=True)
record = AddDelivery(
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
refused = DeliveryRejected(
    delivery_id="d2",
    project_id=3,
    provider="github",
    event="push",
    size=2,
    code="WEBHOOK_SIGNATURE_INVALID",
    unrecorded=4,
)
delivery = Scenario(delivery_decider)


def ignored(command: AddDelivery) -> DeliveryIgnored:
    [event] = delivery.when(command).events
    assert isinstance(event, DeliveryIgnored)
    return event


def test_a_push_to_the_branch_by_an_allowed_user_is_accepted() -> None:
    delivery.when(record).then(accepted)


def test_a_push_to_any_branch_is_accepted_if_the_project_names_none() -> None:
    topic = main.replace(ref="refs/heads/topic/one")
    delivery.when(record.replace(branch="*", push=topic)).then(accepted.replace(ref="refs/heads/topic/one"))


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (record.replace(sender=None), "WEBHOOK_SENDER_UNKNOWN"),
        (record.replace(sender=None, push=None), "WEBHOOK_SENDER_UNKNOWN"),
        (record.replace(sender=ada.replace(enabled=False)), "WEBHOOK_SENDER_DISABLED"),
        (record.replace(sender=ada.replace(enabled=False, allowed=False)), "WEBHOOK_SENDER_DISABLED"),
        (record.replace(sender=ada.replace(allowed=False), push=None), "WEBHOOK_SENDER_NOT_ALLOWED"),
        (record.replace(push=None), "WEBHOOK_EVENT_IGNORED"),
        (record.replace(push=None, branch="*"), "WEBHOOK_EVENT_IGNORED"),
        (record.replace(push=main.replace(ref="refs/tags/main"), branch="*"), "WEBHOOK_REF_IGNORED"),
        (record.replace(push=main.replace(ref="main")), "WEBHOOK_REF_IGNORED"),
        (record.replace(push=main.replace(ref="")), "WEBHOOK_REF_IGNORED"),
        (record.replace(push=main.replace(deleted=True, sha="")), "WEBHOOK_BRANCH_DELETED"),
        (record.replace(push=main.replace(ref="refs/heads/Main")), "WEBHOOK_BRANCH_IGNORED"),
        (record.replace(push=main.replace(ref="refs/heads/topic", sha="")), "WEBHOOK_BRANCH_IGNORED"),
        (record.replace(push=main.replace(skip=True)), "WEBHOOK_SKIP_REQUESTED"),
        (record.replace(build_tags=True, push=main.replace(ref="v1")), "WEBHOOK_REF_IGNORED"),
        (record.replace(build_tags=True, push=tag.replace(deleted=True, sha="")), "WEBHOOK_BRANCH_DELETED"),
        (record.replace(build_tags=True, push=tag.replace(skip=True)), "WEBHOOK_SKIP_REQUESTED"),
    ],
)
def test_an_ignored_push_reports_the_first_reason(command: AddDelivery, code: str) -> None:
    assert ignored(command).code == code
    assert code in IGNORE_REASONS


def test_a_tag_is_built_if_the_project_builds_tags() -> None:
    built = accepted.replace(ref="refs/tags/v1", before_sha="")
    delivery.when(record.replace(build_tags=True, push=tag)).then(built)
    assert to_delivery_view(row_of(built), None).reason == "A build of 0d1a26e6 on tag v1 is queued."


def test_an_ignored_push_is_recorded_with_its_details() -> None:
    event = ignored(record.replace(branch="release"))
    assert (event.user_id, event.ref, event.sha, event.forge_id) == (7, "refs/heads/main", SHA, "f1")


@pytest.mark.parametrize(
    "push",
    [
        main.replace(sha=""),
        main.replace(ref="refs/heads/"),
        main.replace(ref="refs/heads/a:refs/heads/b"),
        main.replace(ref="refs/heads/a..b"),
        main.replace(ref="refs/heads/-a"),
        main.replace(ref="refs/heads/a\x00b"),
        tag.replace(ref="refs/tags/"),
        tag.replace(sha=""),
    ],
)
def test_a_push_without_a_valid_commit_or_branch_is_rejected(push: Push) -> None:
    delivery.when(record.replace(branch="*", build_tags=True, push=push)).then_refused("WEBHOOK_PAYLOAD_INVALID")


def test_a_repeated_delivery_changes_nothing() -> None:
    delivery.given(accepted).when(record.replace(sender=None)).then()
    delivery.given(refused).when(record.replace(delivery_id="d2")).then()


def test_an_accepted_push_is_built_at_its_commit_and_ref() -> None:
    recorded = RecordedEvent("delivery-d1", 1, 0, accepted, CommandMetadata("c1", AT, Actor(7, "ada")))
    assert on_project_event(recorded) == [
        QueueBuild(project_id=3, sha=SHA, ref="refs/heads/main", before_sha=BEFORE, source="push", delivery_id="d1")
    ]


def row_of(event: DeliveryAccepted | DeliveryIgnored | DeliveryRejected) -> DeliveryRow:
    return apply_delivery_event(DeliveryRow(), RecordedEvent("delivery-d1", 1, 0, event, CommandMetadata("c1", AT)))


def test_the_view_of_an_accepted_delivery_names_its_build() -> None:
    view = to_delivery_view(row_of(accepted), "Ada")
    assert (view.decision, view.code, view.executor_id) == (DeliveryDecision.ACCEPTED, None, "d1")
    assert view.reason == "A build of 0d1a26e6 on main is queued."
    assert (view.sender, view.body_size, view.received_at) == ("Ada", 2, AT)
    assert "sealed" not in view.model_dump_json()


def test_the_view_of_a_delivery_explains_the_decision() -> None:
    assert (
        to_delivery_view(row_of(ignored(record.replace(push=None))), None).reason
        == IGNORE_REASONS["WEBHOOK_EVENT_IGNORED"]
    )
    view = to_delivery_view(row_of(refused), None)
    assert view.reason == "The signature or token is missing or does not match the project's key."
    assert (view.executor_id, view.unrecorded, view.forge_id) == (None, 4, None)
