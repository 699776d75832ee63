"""The registration aggregate: the registration token of a scope."""

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.runners import (
    OwnerType,
    RegistrationEvent,
    RegistrationTokenReset,
    RegistrationTokenWithdrawn,
)
from libs.eventstore.decider import Decider, RequestRejected
from services.runners.domain.internal_commands import (
    IssueRegistrationToken,
    ReplaceRegistrationToken,
    WithdrawRegistrationToken,
)

RegistrationCommand = IssueRegistrationToken | ReplaceRegistrationToken | WithdrawRegistrationToken


@dataclass(frozen=True, slots=True)
class Registration:
    issued: bool = False
    withdrawn: bool = False


def decide_registration(registration: Registration, command: RegistrationCommand) -> Sequence[RegistrationEvent]:
    match command:
        case WithdrawRegistrationToken(scope=scope):
            return [] if registration.withdrawn else [RegistrationTokenWithdrawn(scope=scope)]
        case _ if registration.withdrawn:
            raise RequestRejected(f"{command.scope.partition('-')[0].upper()}_NOT_FOUND")
        case IssueRegistrationToken() if registration.issued:
            return []
        case IssueRegistrationToken() | ReplaceRegistrationToken():
            return [
                RegistrationTokenReset(
                    scope=command.scope, token_hash=command.token_hash, token_sealed=command.token_sealed
                )
            ]


def evolve_registration(_registration: Registration, event: RegistrationEvent) -> Registration:
    return Registration(issued=True, withdrawn=isinstance(event, RegistrationTokenWithdrawn))


registration_decider = Decider[RegistrationCommand, Registration, RegistrationEvent](
    commands=(IssueRegistrationToken, ReplaceRegistrationToken, WithdrawRegistrationToken),
    stream=lambda command: registration_stream(command.scope),
    initial=Registration(),
    decide=decide_registration,
    evolve=evolve_registration,
)


def registration_stream(scope: str) -> str:
    return f"registration-{scope}"


def parse_scope(scope: str) -> tuple[OwnerType, int | None]:
    """Return the owner of the runners that a scope registers: "company-4" -> ("COMPANY", 4)."""
    match scope.partition("-"):
        case "company", _, id:
            return "COMPANY", int(id)
        case "project", _, id:
            return "PROJECT", int(id)
        case _:
            return "GLOBAL", None
