"""Messages about the link of a user to an account at an OpenID provider."""

from typing import ClassVar

from contracts.identity.fields import Name
from contracts.messages import Command, Event, Message, Query


class LinkIdentity(Command):
    """Link a user to an account at the configured OpenID provider, or remove the link.

    If this ends a former link, all sessions and personal tokens of the user become invalid. Errors:
    DEVELOPER_NOT_FOUND, DEVELOPER_IDENTITY_INVALID, DEVELOPER_IDENTITY_TAKEN, and OIDC_DISABLED for a new link.
    """

    user_id: int
    subject_id: Name | None = None  # the account's identifier: the claim `sub`; empty: no link


class UserIdentityLinked(Event):
    """A user was linked to an account at an OpenID provider, and can sign in with it."""

    personal: ClassVar[frozenset[str]] = frozenset({"subject"})

    user_id: int
    issuer: str  # URL of the provider
    subject: str


class UserIdentityUnlinked(Event):
    """The link of a user was removed. Tokens with an older epoch are invalid."""

    user_id: int
    epoch: int


class GetIdentityLink(Query):
    """Get the link of a user. Answer: IdentityLink. Errors: DEVELOPER_NOT_FOUND."""

    user_id: int


class IdentityLink(Message):
    issuer: str | None  # None: the user is not linked
    subject: str | None
