"""Logging in, and what a user may do now."""

from typing import Literal

from pydantic import Field

from contracts.identity.fields import MAX_PASSWORD_LENGTH, Name
from contracts.messages import Command, Message, Query, Sensitive


class LogIn(Query):
    """Answered with a Session; every failure is UNAUTHORIZED and takes the same time.

    TOO_MANY_REQUESTS, with the seconds to wait, after too many failures; whether the user exists makes no difference.
    """

    username: Name
    password: str = Field(repr=False, max_length=MAX_PASSWORD_LENGTH)
    ip_address: str = ""  # of the client


class Session(Message):
    access_token: Sensitive
    expires_in: int  # seconds


class GetAccess(Query):
    """What a user may do now; a token whose epoch is another one is no longer valid."""

    user_id: int


class Access(Message):
    user_id: int
    user_uuid: str
    username: str
    enabled: bool
    roles: tuple[str, ...]
    epoch: int


class ListAccess(Query, wire_name="FindAccess"):
    """What the users may do who have this name at a forge: case does not count, and nobody has an empty name."""

    provider: Literal["github", "gitlab"]
    name: Name


class AccessList(Message):
    users: tuple[Access, ...]


class RotateSigningKeys(Command):
    """A new key signs from now on; those before it verify until the tokens that they signed have ended.

    Answered with the VerificationKeys. Events do not speak of keys.
    """


class GetVerificationKeys(Query, wire_name="PublicKeys"):
    """The keys that verify tokens."""


class VerificationKeys(Message):
    keys: dict[str, str]  # key id -> PEM
