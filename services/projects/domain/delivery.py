"""A delivery: decided once, in the order in which forges are answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from contracts.projects import (
    DeliveryAccepted,
    DeliveryCommand,
    DeliveryEvent,
    DeliveryIgnored,
    DeliveryRejected,
    Push,
    RecordDelivery,
    Sender,
)
from libs.eventstore.decider import Decider, RequestRejected
from services.projects.domain.repository import is_branch_name

BRANCH_REF_PREFIX = "refs/heads/"


@dataclass(frozen=True, slots=True)
class Delivery:
    recorded: bool = False


def decide(delivery: Delivery, command: DeliveryCommand) -> Sequence[DeliveryEvent]:
    match command:
        case _ if delivery.recorded:
            return []  # it came twice at the same time
        case RecordDelivery():
            return [decide_delivery(command)]


def decide_delivery(command: RecordDelivery) -> DeliveryAccepted | DeliveryIgnored:
    """Raises Refused for a push that is for us and names no commit that could be built."""
    sender, push, code = command.sender, command.push, ignore_reason(command)
    facts = command.model_dump(exclude={"branch", "sender", "push"})
    facts |= {"user_id": sender and sender.user_id, "ref": push and push.ref, "sha": (push and push.sha) or None}
    if code:
        return DeliveryIgnored(**facts, code=code)
    if not (push and push.sha and is_branch_name(push.ref.removeprefix(BRANCH_REF_PREFIX))):
        raise RequestRejected("WEBHOOK_PAYLOAD_INVALID", "The push names no branch or no commit that git could have.")
    return DeliveryAccepted(**facts, before_sha=push.before)


def ignore_reason(command: RecordDelivery) -> str | None:
    """The first reason to build nothing."""
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
        case _:
            return None


def evolve(_delivery: Delivery, event: DeliveryEvent) -> Delivery:
    match event:
        case DeliveryAccepted() | DeliveryIgnored() | DeliveryRejected():
            return Delivery(recorded=True)
        case _:
            assert_never(event)


delivery_decider = Decider[DeliveryCommand, Delivery, DeliveryEvent](
    commands=(RecordDelivery,),
    stream=lambda command: f"delivery-{command.delivery_id}",
    initial=Delivery(),
    decide=decide,
    evolve=evolve,
    initial_commands=(RecordDelivery,),
)
