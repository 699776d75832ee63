"""The delivery aggregate: a webhook request, and whether it launches a build."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from contracts.projects import (
    DeliveryAccepted,
    DeliveryEvent,
    DeliveryIgnored,
    DeliveryRejected,
    Push,
    Sender,
)
from libs.branch_names import BRANCH_REF_PREFIX, is_branch_name
from libs.eventstore.decider import Decider, RequestRejected
from services.projects.domain.internal_commands import AddDelivery


@dataclass(frozen=True, slots=True)
class Delivery:
    recorded: bool = False


def decide(delivery: Delivery, command: AddDelivery) -> Sequence[DeliveryEvent]:
    return [] if delivery.recorded else [decide_delivery(command)]  # recorded: a concurrent duplicate


def decide_delivery(command: AddDelivery) -> DeliveryAccepted | DeliveryIgnored:
    """Return the event for the delivery. Raise RequestRejected if a push to build has no valid branch or commit."""
    sender, push, code = command.sender, command.push, ignore_reason(command)
    fields = {name: value for name, value in vars(command).items() if name not in ("branch", "sender", "push")}
    fields |= {"user_id": sender and sender.user_id, "ref": push and push.ref, "sha": (push and push.sha) or None}
    if code:
        return DeliveryIgnored(**fields, code=code)
    if not (push and push.sha and is_branch_name(push.ref.removeprefix(BRANCH_REF_PREFIX))):
        raise RequestRejected("WEBHOOK_PAYLOAD_INVALID", "The push has no valid branch name or no valid commit hash.")
    return DeliveryAccepted(**fields, before_sha=push.before)


def ignore_reason(command: AddDelivery) -> str | None:
    """Return the code of the first reason not to build the push, or None."""
    match command.sender, command.push:
        case None, _:
            return "WEBHOOK_SENDER_UNKNOWN"
        case Sender(enabled=False), _:
            return "WEBHOOK_SENDER_DISABLED"
        case Sender(allowed=False), _:
            return "WEBHOOK_SENDER_NOT_ALLOWED"
        case _, None:
            return "WEBHOOK_EVENT_IGNORED"
        case _, Push(ref=ref) if not ref.startswith(BRANCH_REF_PREFIX):
            return "WEBHOOK_REF_IGNORED"
        case _, Push(deleted=True):
            return "WEBHOOK_BRANCH_DELETED"
        case _, Push(ref=ref) if command.branch not in ("*", ref.removeprefix(BRANCH_REF_PREFIX)):
            return "WEBHOOK_BRANCH_IGNORED"
        case _, Push(skip=True):
            return "WEBHOOK_SKIP_REQUESTED"
        case _:
            return None


def evolve(_delivery: Delivery, event: DeliveryEvent) -> Delivery:
    match event:
        case DeliveryAccepted() | DeliveryIgnored() | DeliveryRejected():
            return Delivery(recorded=True)
        case _:
            assert_never(event)


delivery_decider = Decider[AddDelivery, Delivery, DeliveryEvent](
    commands=(AddDelivery,),
    stream=lambda command: f"delivery-{command.delivery_id}",
    initial=Delivery(),
    decide=decide,
    evolve=evolve,
    initial_commands=(AddDelivery,),
)
