"""Personal API tokens: what a user gives to programs that act in the user's name."""

from datetime import date, datetime
from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from contracts.identity.access import Access
from contracts.identity.fields import Name
from contracts.messages import Command, Event, Message, Query

TOKEN_PREFIX = "hrp_"  # noqa: S105  by which programs that look for leaked secrets know one


class TokenScope(StrEnum):
    """What a token may be limited to; PROJECT_WRITE makes and deletes projects, PROJECT_EDIT changes their settings."""

    USER_READ = "USER_READ"
    USER_WRITE = "USER_WRITE"
    PROJECT_READ = "PROJECT_READ"
    PROJECT_WRITE = "PROJECT_WRITE"
    PROJECT_EDIT = "PROJECT_EDIT"
    SECRET_READ = "SECRET_READ"  # noqa: S105
    SECRET_WRITE = "SECRET_WRITE"  # noqa: S105
    BUILD_READ = "BUILD_READ"
    BUILD_WRITE = "BUILD_WRITE"
    RUNNER_READ = "RUNNER_READ"
    RUNNER_WRITE = "RUNNER_WRITE"
    TEAM_READ = "TEAM_READ"
    TEAM_WRITE = "TEAM_WRITE"
    COMPANY_READ = "COMPANY_READ"
    COMPANY_WRITE = "COMPANY_WRITE"
    SERVER_READ = "SERVER_READ"
    SERVER_WRITE = "SERVER_WRITE"
    EVENT_READ = "EVENT_READ"


class CreateApiToken(Command):
    """A token for programs that act in the user's name; its value is in this answer alone.

    Answered with an ApiTokenView, also to a repetition: the value follows from the command's id and is kept nowhere.
    """

    user_id: int
    name: Name | None = None
    expires_at: date | None = None  # the last day on which it is good, in UTC; None: no end
    scopes: tuple[TokenScope, ...] = Field(default=(), max_length=100)  # none: all that the user may do


class RecordApiToken(Command):
    """From identity to itself: the value stays outside."""

    user_id: int
    token_id: int
    token_uuid: str
    token_hash: str
    name: str | None
    expires_at: date | None
    scopes: tuple[TokenScope, ...]
    today: date


class RevokeApiToken(Command):
    user_id: int
    token_id: int


class ApiTokenCreated(Event):
    """Every change of the user's password, roles or state ends it, as it ends log-ins."""

    personal: ClassVar[frozenset[str]] = frozenset({"name"})

    user_id: int
    token_id: int
    token_uuid: str
    token_hash: str  # SHA-256 of the value, in hexadecimal
    name: str
    expires_at: str | None = None  # the last day on which it is good: YYYY-MM-DD, in UTC
    scopes: tuple[str, ...]  # none: all that the user may do


class ApiTokenRevoked(Event):
    user_id: int
    token_id: int


class ListApiTokens(Query):
    """The tokens of a user that may still be used, and those whose time is over, by id."""

    user_id: int


class ApiTokenView(Message):
    id: int
    uuid: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: str | None  # YYYY-MM-DD
    last_used_at: datetime | None  # to the minute; uses of more than a year ago are forgotten
    value: str | None = Field(default=None, repr=False)  # only in the answer that creates it


class ApiTokens(Message):
    tokens: tuple[ApiTokenView, ...]


class GetTokenAccess(Query):
    """What the bearer of a token may do now; TOKEN_INVALID for one that never was, was revoked or has ended.

    Being asked counts as a use of the token, except after its last day.
    """

    token_hash: str = Field(pattern=r"^[0-9a-f]{64}$")


class TokenAccess(Message):
    access: Access
    scopes: tuple[str, ...]  # none: all that the user may do
    expires_at: date | None
