"""The token that registers runners for a scope: the whole service, a company or a project."""

from datetime import datetime

from pydantic import Field

from contracts.messages import Command, Event, Message, Query, ReadModelRow, Sensitive
from contracts.runners.fields import Scope


class IssueRegistrationToken(Command):
    """A registration token for the scope, unless it has one."""

    scope: Scope
    token_hash: str = ""  # filled in by the service
    token_sealed: str = ""  # filled in by the service


class ResetRegistrationToken(Command):
    """A new registration token for the scope; the old one registers nobody from now on."""

    scope: Scope
    token_hash: str = ""  # filled in by the service
    token_sealed: str = ""  # filled in by the service


class WithdrawRegistrationToken(Command):
    """Whom it made runners for is gone: the scope never has a token again."""

    scope: Scope


class GetRegistrationInfo(Query):
    """Answers RegistrationInfo; a scope that was never asked about gets its token now."""

    scope: Scope = "service"


class RegistrationInfo(Message):
    id: str = "1"
    scope: str
    registration_token: Sensitive


class RegistrationTokenReset(Event):
    """The scope has a new token; also recorded for its first one."""

    scope: str
    token_hash: str
    token_sealed: str


class RegistrationTokenWithdrawn(Event):
    scope: str


class RegistrationRow(ReadModelRow):
    scope: str = ""
    token_hash: str = Field(default="", repr=False)
    token_sealed: str = Field(default="", repr=False)
    reset_at: datetime | None = None


RegistrationCommand = IssueRegistrationToken | ResetRegistrationToken | WithdrawRegistrationToken
RegistrationEvent = RegistrationTokenReset | RegistrationTokenWithdrawn
