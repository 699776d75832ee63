"""Personal API tokens, with which programs act on behalf of a user."""

from datetime import date, datetime
from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from contracts.identity.access import Access
from contracts.identity.fields import Name
from contracts.messages import Command, Event, Message, Query

TOKEN_PREFIX = "hrp_"  # noqa: S105  lets secret scanners recognize leaked tokens


class TokenScope(StrEnum):
    """Scopes of tokens. PROJECT_WRITE creates and deletes projects, PROJECT_EDIT changes their settings."""

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
    """Create a personal token. Answer: ApiTokenView with the value, which is not stored.

    A repeated command with the same id returns the same value, which is derived from the id. Errors:
    DEVELOPER_NOT_FOUND, TOKEN_NAME_REQUIRED, TOKEN_NAME_INVALID, TOKEN_EXPIRES_AT_INVALID, TOKEN_LIMIT, and CONFLICT
    if the user is disabled.
    """

    user_id: int
    name: Name | None = None
    expires_at: date | None = None  # last valid day in UTC; None: no expiry
    scopes: tuple[TokenScope, ...] = Field(default=(), max_length=100)  # empty: all rights of the user


class RevokeApiToken(Command):
    """Revoke a personal token. Errors: DEVELOPER_NOT_FOUND, TOKEN_NOT_FOUND."""

    user_id: int
    token_id: int


class ApiTokenCreated(Event):
    """A personal token was created.

    The token becomes invalid when the user's password, roles or state change, when a link of the user to an account at
    an OpenID provider is removed, and when the user is deleted.
    """

    personal: ClassVar[frozenset[str]] = frozenset({"name"})

    user_id: int
    token_id: int
    token_uuid: str
    token_hash: str  # SHA-256 of the value, in hexadecimal
    name: str
    expires_at: str | None = None  # last valid day: YYYY-MM-DD, in UTC
    scopes: tuple[str, ...]  # empty: all rights of the user


class ApiTokenRevoked(Event):
    user_id: int
    token_id: int


class ListApiTokens(Query):
    """List the tokens of a user, including expired tokens, ordered by id. Answer: ApiTokens.

    Errors: DEVELOPER_NOT_FOUND.
    """

    user_id: int


class ApiTokenView(Message):
    id: int
    uuid: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: str | None  # last valid day: YYYY-MM-DD, in UTC; None: no expiry
    last_used_at: datetime | None  # to the minute; None: not used in the last year
    value: str | None = Field(default=None, repr=False)  # only in the answer to CreateApiToken


class ApiTokens(Message):
    tokens: tuple[ApiTokenView, ...]


class AuthenticateToken(Command):
    """Authenticate a call with a personal token and record its use. Answer: TokenAccess.

    The answer for an expired token is the same, but its use is not recorded: the caller has to check `expires_at`.
    Errors: TOKEN_INVALID if there is no such token.
    """

    former_subject: ClassVar[str] = "qry.identity.GetTokenAccess"

    token_hash: str = Field(pattern=r"^[0-9a-f]{64}$")


class TokenAccess(Message):
    access: Access
    scopes: tuple[str, ...]  # empty: all rights of the user
    expires_at: date | None
