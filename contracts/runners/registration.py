"""Messages about registration tokens, which register runners for the whole service, a company or a project."""

from datetime import datetime
from typing import ClassVar

from pydantic import Field

from contracts.messages import Command, Event, Message, ReadModelRow, Sensitive
from contracts.runners.fields import Scope


class ResetRegistrationToken(Command):
    """Replace the registration token of a scope. The old one becomes invalid.

    Errors: COMPANY_NOT_FOUND or PROJECT_NOT_FOUND if the company or project of the scope was deleted, PROJECT_NOT_FOUND
    also if the actor may not see the project.
    """

    former_fields: ClassVar[frozenset[str]] = frozenset({"token_hash", "token_sealed"})

    scope: Scope


class RevealRegistrationToken(Command):
    """Get the registration token of a scope. If the scope has none, create it. Answer: RegistrationInfo.

    Errors: those of ResetRegistrationToken.
    """

    former_subject: ClassVar[str] = "qry.runners.GetRegistrationInfo"

    scope: Scope = "service"


class RegistrationInfo(Message):
    id: str = "1"
    scope: str
    registration_token: Sensitive


class RegistrationTokenReset(Event):
    """A scope got a new registration token, possibly its first."""

    scope: str
    token_hash: str
    token_sealed: str


class RegistrationTokenWithdrawn(Event):
    """The registration token of a deleted company or project was withdrawn."""

    scope: str


class RegistrationRow(ReadModelRow):
    scope: str = ""
    token_hash: str = Field(default="", repr=False)
    token_sealed: str = Field(default="", repr=False)
    reset_at: datetime | None = None


RegistrationEvent = RegistrationTokenReset | RegistrationTokenWithdrawn
