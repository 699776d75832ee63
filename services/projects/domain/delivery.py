"""The delivery aggregate: a webhook request, and whether it launches a build."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from contracts.projects import (
    ApproveDelivery,
    DeliveryAccepted,
    DeliveryApproved,
    DeliveryEvent,
    DeliveryHeld,
    DeliveryIgnored,
    DeliveryRejected,
    PullRequestBuilds,
    Push,
    Sender,
)
from libs.branch_names import BRANCH_REF_PREFIX, TAG_REF_PREFIX, is_branch_name
from libs.eventstore.decider import Decider, RequestRejected
from services.projects.domain.internal_commands import AddDelivery
from services.projects.domain.webhook import PullRequestChange

# fields of AddDelivery that its events do not have
DECIDED_BY = ("branch", "build_tags", "build_pull_requests", "repository", "sender", "push", "change")


@dataclass(frozen=True, slots=True)
class Delivery:
    recorded: bool = False
    held: DeliveryHeld | None = None
    approved: bool = False


def decide(delivery: Delivery, command: AddDelivery | ApproveDelivery) -> Sequence[DeliveryEvent]:
    if isinstance(command, ApproveDelivery):
        return _approve(delivery, command)
    return [] if delivery.recorded else [decide_delivery(command)]  # recorded: a concurrent duplicate


def _approve(delivery: Delivery, command: ApproveDelivery) -> list[DeliveryEvent]:
    """Approve the commit of a held delivery. A newer commit of the pull request is another delivery."""
    held = delivery.held
    if held is not None and held.project_id != command.project_id:
        raise RequestRejected("DELIVERY_NOT_FOUND")
    if held is None:
        raise RequestRejected("DELIVERY_STATUS" if delivery.recorded else "DELIVERY_NOT_FOUND")
    if delivery.approved:
        return []
    approved = DeliveryApproved(
        delivery_id=held.delivery_id,
        project_id=held.project_id,
        ref=held.ref,
        sha=held.sha,
        pull_request=held.pull_request,
    )
    return [approved]


def decide_delivery(command: AddDelivery) -> DeliveryAccepted | DeliveryIgnored | DeliveryHeld:
    """Return the event for the delivery. Raises RequestRejected if it has no valid ref or commit to build."""
    sender, subject, code = command.sender, command.change or command.push, ignore_reason(command)
    fields = {name: value for name, value in vars(command).items() if name not in DECIDED_BY}
    fields |= {
        "user_id": sender and sender.user_id,
        "ref": subject and subject.ref,
        "sha": (subject and subject.sha) or None,
    }
    if code:
        return DeliveryIgnored(**fields, code=code)
    if command.change is not None:
        return _decide_pull_request(command.change, fields)
    push = command.push
    if not (push and push.sha and is_branch_name(_name_of(push.ref))):
        raise RequestRejected("WEBHOOK_PAYLOAD_INVALID", "The push has no valid name of a ref or no valid commit hash.")
    return DeliveryAccepted(**fields, before_sha=push.before)


def _decide_pull_request(change: PullRequestChange, fields: dict[str, object]) -> DeliveryAccepted | DeliveryHeld:
    request = change.pull_request
    has_branches = is_branch_name(request.source_branch) and is_branch_name(request.target_branch)
    if not (request.number and change.sha and has_branches):
        detail = "The pull request has no valid number, commit hash, source or target branch."
        raise RequestRejected("WEBHOOK_PAYLOAD_INVALID", detail)
    event = DeliveryHeld if request.is_fork else DeliveryAccepted
    return event.model_validate({**fields, "pull_request": request})


def ignore_reason(command: AddDelivery) -> str | None:
    """Return the code of the first reason not to build the push or pull request, or None."""
    if command.change is not None:
        return _pull_request_reason(command, command.change)
    match command.sender, command.push:
        case (None | Sender(enabled=False) | Sender(allowed=False)) as sender, _:
            return _sender_reason(sender)
        case _, None:
            return "WEBHOOK_EVENT_IGNORED"
        case _, Push(ref=ref) if not ref.startswith(BRANCH_REF_PREFIX) and not (command.build_tags and _is_tag(ref)):
            return "WEBHOOK_REF_IGNORED"
        case _, Push(deleted=True):
            return "WEBHOOK_BRANCH_DELETED"
        case _, Push(ref=ref) if not _is_tag(ref) and command.branch not in ("*", _name_of(ref)):
            return "WEBHOOK_BRANCH_IGNORED"
        case _, Push(skip=True):
            return "WEBHOOK_SKIP_REQUESTED"
        case _:
            return None


def _sender_reason(sender: Sender | None) -> str | None:
    if sender is None:
        return "WEBHOOK_SENDER_UNKNOWN"
    if not sender.enabled:
        return "WEBHOOK_SENDER_DISABLED"
    return None if sender.allowed else "WEBHOOK_SENDER_NOT_ALLOWED"


def _pull_request_reason(command: AddDelivery, change: PullRequestChange) -> str | None:
    """Return why the pull request is not built, or None.

    The sender of a pull request of a fork does not have to be a user, because a maintainer approves the build.
    """
    if not change.has_new_commits:
        return "WEBHOOK_PULL_REQUEST_UNCHANGED"
    if not _is_path_of(change.repository, command.repository):
        return "WEBHOOK_REPOSITORY_MISMATCH"
    if command.branch not in ("*", change.pull_request.target_branch):
        return "WEBHOOK_BRANCH_IGNORED"
    if change.skip:
        return "WEBHOOK_SKIP_REQUESTED"
    if not change.pull_request.is_fork:
        return _sender_reason(command.sender)
    return None if command.build_pull_requests is PullRequestBuilds.FORKS else "WEBHOOK_FORK_IGNORED"


def _is_path_of(path: str, repository: str) -> bool:
    """Return whether the URL of the repository ends with the path that the forge names.

    The host can be another name of the forge. Commits come from the project's repository in any case.
    """
    url = repository.rstrip("/").removesuffix(".git").replace(":", "/").lower()
    return path != "" and url.endswith(f"/{path.lower()}")


def _is_tag(ref: str) -> bool:
    return ref.startswith(TAG_REF_PREFIX)


def _name_of(ref: str) -> str:
    return ref.removeprefix(TAG_REF_PREFIX if _is_tag(ref) else BRANCH_REF_PREFIX)


def evolve(delivery: Delivery, event: DeliveryEvent) -> Delivery:
    match event:
        case DeliveryAccepted() | DeliveryIgnored() | DeliveryRejected():
            return Delivery(recorded=True)
        case DeliveryHeld():
            return Delivery(recorded=True, held=event)
        case DeliveryApproved():
            return Delivery(recorded=True, held=delivery.held, approved=True)
        case _:
            assert_never(event)


delivery_decider = Decider[AddDelivery | ApproveDelivery, Delivery, DeliveryEvent](
    commands=(AddDelivery, ApproveDelivery),
    stream=lambda command: f"delivery-{command.delivery_id}",
    initial=Delivery(),
    decide=decide,
    evolve=evolve,
    initial_commands=(AddDelivery,),
)
