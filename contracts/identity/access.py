"""Login and the current access rights of users."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from contracts.identity.fields import MAX_PASSWORD_LENGTH, Name
from contracts.messages import Command, Message, Query, Sensitive

MAX_USERNAMES = 1000


class LogIn(Command):
    """Log in with a password. Failures are counted. Answer: Session.

    Errors: UNAUTHORIZED, which takes the same time whether or not the user exists; TOO_MANY_REQUESTS, with
    `retry_after`, after too many failures.
    """

    former_subject: ClassVar[str] = "qry.identity.LogIn"

    username: Name
    password: str = Field(repr=False, max_length=MAX_PASSWORD_LENGTH)
    ip_address: str = ""  # IP address of the client


class RenewSession(Command):
    """Exchange a valid login token for one that expires later. Answer: Session.

    Errors: TOKEN_EXPIRED, TOKEN_INVALID, and SESSION_EXPIRED if the sign-in is too long ago to be renewed.
    """

    token: Sensitive


class Session(Message):
    access_token: Sensitive
    expires_in: int  # seconds until the token expires
    renewable_for: int = 0  # seconds until the user has to sign in again


class GetAccess(Query):
    """Get the current access rights of a user. A token with another `epoch` than this answer is invalid.

    Answer: Access. Errors: DEVELOPER_NOT_FOUND.
    """

    user_id: int


class Access(Message):
    user_id: int
    user_uuid: str
    username: str
    enabled: bool
    roles: tuple[str, ...]
    epoch: int


class ListAccess(Query, wire_name="FindAccess"):
    """List the access rights of the users with this name at a forge, case-insensitively. Answer: AccessList."""

    provider: Literal["github", "gitlab"]
    name: Name


class AccessList(Message):
    users: tuple[Access, ...]


class GetUsernames(Query):
    """Get the current names of users. Published events contain only the ids of users. Answer: Usernames."""

    user_ids: Annotated[tuple[int, ...], Field(max_length=MAX_USERNAMES)]


class Usernames(Message):
    names: dict[int, str]  # by user id; users that do not exist or were erased are left out


class RotateSigningKeys(Command):
    """Create a new signing key. A former key verifies its tokens until they have expired. Answer: VerificationKeys.

    Keys are not part of any event.
    """


class GetVerificationKeys(Query, wire_name="PublicKeys"):
    """Get the public keys that verify access tokens. Answer: VerificationKeys."""


class VerificationKeys(Message):
    keys: dict[str, str]  # key id -> PEM
