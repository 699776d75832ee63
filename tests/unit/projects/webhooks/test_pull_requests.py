"""Webhooks of pull and merge requests: their content, decisions, and the approval of a fork's commit."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.builds import QueueBuild
from contracts.projects import (
    APPROVAL_REQUIRED,
    IGNORE_REASONS,
    ApproveDelivery,
    DeliveryAccepted,
    DeliveryApproved,
    DeliveryDecision,
    DeliveryEvent,
    DeliveryHeld,
    DeliveryIgnored,
    Provider,
    PullRequest,
    PullRequestBuilds,
    Sender,
)
from libs.eventstore.decider import Actor, CommandMetadata, RecordedEvent
from services.projects.domain.delivery import delivery_decider
from services.projects.domain.internal_commands import AddDelivery
from services.projects.domain.webhook import PullRequestChange, parse_request
from services.projects.policies import on_project_event
from services.projects.webhooks.delivery_projection import DeliveryRow, apply_delivery_event, to_delivery_view
from tests.support.external.forge_webhooks import github_pull_request_body, gitlab_merge_request_body
from tests.support.scenario import Scenario

SHA = "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c"
AT = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
own = PullRequest(number=1, title="Turn the wheel faster", source_branch="faster", target_branch="main", is_fork=False)
fork = own.replace(is_fork=True)
own_change = PullRequestChange(own, "refs/pull/1/head", SHA, "octo/mill", has_new_commits=True)
fork_change = replace(own_change, pull_request=fork)
ada = Sender(user_id=7, enabled=True, allowed=True)
record = AddDelivery(
    delivery_id="d1",
    project_id=3,
    provider="github",
    event="pull_request",
    forge_id="f1",
    branch="main",
    sealed_sender="sealed",
    sender=ada,
    push=None,
    size=2,
    digest="digest",
    change=own_change,
    build_pull_requests=PullRequestBuilds.FORKS,
    repository="https://forge.example/octo/mill.git",
)
accepted = DeliveryAccepted(
    delivery_id="d1",
    project_id=3,
    provider="github",
    event="pull_request",
    forge_id="f1",
    sealed_sender="sealed",
    user_id=7,
    ref="refs/pull/1/head",
    sha=SHA,
    size=2,
    digest="digest",
    pull_request=own,
)
held = DeliveryHeld(**accepted.model_dump(exclude={"before_sha", "pull_request"}), pull_request=fork)
approved = DeliveryApproved(delivery_id="d1", project_id=3, ref="refs/pull/1/head", sha=SHA, pull_request=fork)
approve = ApproveDelivery(project_id=3, delivery_id="d1")
delivery = Scenario(delivery_decider)


def parse(provider: Provider, event: str, body: bytes) -> PullRequestChange:
    change = parse_request(provider, event, "application/json", body)[1].change
    assert change is not None
    return change


def changed(body: bytes, *path: str, value: object) -> bytes:
    """Return the JSON body with `value` at the path."""
    document: Any = json.loads(body)
    *parents, last = path
    inner = document
    for name in parents:
        inner = inner[name]
    inner[last] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize("action", ["opened", "reopened", "synchronize", "synchronized"])
def test_a_pull_request_of_github_or_gitea_with_new_commits_is_read(action: str) -> None:
    assert parse("github", "pull_request", github_pull_request_body(SHA, action)) == own_change
    assert parse("github", "pull_request", github_pull_request_body(SHA, action, fork=True)) == fork_change


@pytest.mark.parametrize(("action", "more"), [("open", {}), ("reopen", {}), ("update", {"oldrev": "1" * 40})])
def test_a_merge_request_of_gitlab_with_new_commits_is_read(action: str, more: dict[str, Any]) -> None:
    expected = replace(own_change, ref="refs/merge-requests/1/head")
    assert parse("gitlab", "Merge Request Hook", gitlab_merge_request_body(SHA, action, **more)) == expected
    body = gitlab_merge_request_body(SHA, action, fork=True, **more)
    assert parse("gitlab", "Merge Request Hook", body) == replace(expected, pull_request=fork)


@pytest.mark.parametrize("action", ["closed", "edited", "labeled", "", None])
def test_other_actions_bring_no_new_commits(action: Any) -> None:
    assert not parse("github", "pull_request", github_pull_request_body(SHA, action)).has_new_commits
    assert not parse("gitlab", "Merge Request Hook", gitlab_merge_request_body(SHA, "update")).has_new_commits
    assert not parse("gitlab", "Merge Request Hook", gitlab_merge_request_body(SHA, "close")).has_new_commits


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("pull_request", "head", "repo"), None),
        (("pull_request", "head", "repo"), {"id": "186853002"}),
        (("pull_request", "head", "repo"), {"id": True}),
        (("pull_request", "base", "repo"), {}),
        (("repository", "id"), 5),
    ],
)
def test_whatever_is_not_surely_of_the_repository_is_a_fork(path: tuple[str, ...], value: object) -> None:
    body = changed(github_pull_request_body(SHA), *path, value=value)
    assert parse("github", "pull_request", body).pull_request.is_fork


def test_the_message_of_a_merge_request_can_skip_its_build() -> None:
    body = gitlab_merge_request_body(SHA, last_commit={"id": SHA, "message": "Later [skip ci]"})
    assert parse("gitlab", "Merge Request Hook", body).skip


def test_the_title_is_one_short_line() -> None:
    body = changed(github_pull_request_body(SHA), "pull_request", "title", value="a\nb\x1b[31m" + "c" * 300)
    title = parse("github", "pull_request", body).pull_request.title
    assert title.startswith("a b [31mc")
    assert len(title) == 255


@pytest.mark.parametrize("body", [b"{}", b'{"pull_request": [], "repository": 5, "number": 1}'])
def test_missing_members_are_empty(body: bytes) -> None:
    change = parse("github", "pull_request", body)
    assert (change.sha, change.repository, change.pull_request.number) == ("", "", 0)
    assert change.pull_request.is_fork


def test_a_pull_request_of_the_repository_is_built_for_its_sender() -> None:
    delivery.when(record).then(accepted)
    assert on_project_event(recorded(accepted)) == [
        QueueBuild(
            project_id=3,
            ref="refs/pull/1/head",
            sha=SHA,
            source="merge_request_event",
            delivery_id="d1",
            pull_request=own,
        )
    ]


@pytest.mark.parametrize(
    "repository",
    [
        "https://forge.example/octo/mill",
        "https://FORGE.example/Octo/Mill.git/",
        "git@forge.example:octo/mill.git",
        "ssh://git@ssh.forge.example:443/octo/mill.git",
        "https://example.org/gitlab/octo/mill.git",
    ],
)
def test_the_repository_is_recognized_by_its_path(repository: str) -> None:
    delivery.when(record.replace(repository=repository)).then(accepted)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (record.replace(change=replace(own_change, has_new_commits=False)), "WEBHOOK_PULL_REQUEST_UNCHANGED"),
        (record.replace(repository="https://forge.example/eve/mill"), "WEBHOOK_REPOSITORY_MISMATCH"),
        (record.replace(repository="https://forge.example/not-octo/mill"), "WEBHOOK_REPOSITORY_MISMATCH"),
        (record.replace(change=replace(own_change, repository="")), "WEBHOOK_REPOSITORY_MISMATCH"),
        (record.replace(branch="release"), "WEBHOOK_BRANCH_IGNORED"),
        (record.replace(change=replace(own_change, skip=True)), "WEBHOOK_SKIP_REQUESTED"),
        (record.replace(sender=None), "WEBHOOK_SENDER_UNKNOWN"),
        (record.replace(sender=ada.replace(enabled=False)), "WEBHOOK_SENDER_DISABLED"),
        (record.replace(sender=ada.replace(allowed=False)), "WEBHOOK_SENDER_NOT_ALLOWED"),
        (record.replace(change=fork_change, build_pull_requests=PullRequestBuilds.BRANCHES), "WEBHOOK_FORK_IGNORED"),
        (record.replace(change=None), "WEBHOOK_EVENT_IGNORED"),
    ],
)
def test_an_ignored_pull_request_reports_the_first_reason(command: AddDelivery, code: str) -> None:
    [event] = delivery.when(command).events
    assert isinstance(event, DeliveryIgnored)
    assert event.code == code
    assert code in IGNORE_REASONS


@pytest.mark.parametrize(
    "change",
    [
        replace(own_change, sha=""),
        replace(own_change, pull_request=own.replace(number=0)),
        replace(own_change, pull_request=own.replace(source_branch="a..b")),
        replace(fork_change, pull_request=fork.replace(source_branch="")),
    ],
)
def test_a_pull_request_without_valid_members_is_rejected(change: PullRequestChange) -> None:
    delivery.when(record.replace(change=change, branch="*")).then_refused("WEBHOOK_PAYLOAD_INVALID")


@pytest.mark.parametrize("sender", [ada, None, ada.replace(enabled=False, allowed=False)])
def test_a_commit_of_a_fork_waits_for_approval_whoever_sends_it(sender: Sender | None) -> None:
    expected = held.replace(user_id=sender and sender.user_id)
    delivery.when(record.replace(change=fork_change, sender=sender)).then(expected)
    assert on_project_event(recorded(held)) == []


def test_an_approval_launches_the_build_once() -> None:
    delivery.given(held).when(approve).then(approved)
    delivery.given(held, approved).when(approve).then()
    delivery.given(held, approved).when(record).then()
    assert on_project_event(recorded(approved)) == [
        QueueBuild(
            project_id=3,
            ref="refs/pull/1/head",
            sha=SHA,
            source="merge_request_event",
            delivery_id="d1",
            pull_request=fork,
        )
    ]


def test_only_a_waiting_delivery_of_the_project_can_be_approved() -> None:
    delivery.when(approve).then_refused("DELIVERY_NOT_FOUND")
    delivery.given(held).when(approve.replace(project_id=4)).then_refused("DELIVERY_NOT_FOUND")
    delivery.given(accepted).when(approve).then_refused("DELIVERY_STATUS")


def recorded(event: DeliveryEvent) -> RecordedEvent[Any]:
    return RecordedEvent("delivery-d1", 1, 0, event, CommandMetadata("c1", AT, Actor(7, "ada")))


def test_the_view_of_a_delivery_shows_its_pull_request_and_the_approval() -> None:
    waiting = apply_delivery_event(DeliveryRow(), recorded(held))
    view = to_delivery_view(waiting, None)
    assert (view.decision, view.code, view.executor_id) == (DeliveryDecision.WAITING, APPROVAL_REQUIRED, None)
    assert view.reason == "The commit comes from a fork. A maintainer of the project has to approve its build."
    assert view.pull_request == fork
    after = to_delivery_view(apply_delivery_event(waiting, recorded(approved)), None)
    assert (after.decision, after.code, after.executor_id) == (DeliveryDecision.ACCEPTED, None, "d1")
    assert after.received_at == view.received_at
