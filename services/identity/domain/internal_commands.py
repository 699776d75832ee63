"""Internal commands of users and companies: prepared commands, and commands of workers."""

from dataclasses import dataclass, field
from datetime import date

from libs.eventstore.decider import InternalCommand


@dataclass(frozen=True, slots=True)
class Identity:
    """An account at an OpenID provider."""

    issuer: str
    subject: str = field(repr=False)


@dataclass(frozen=True)
class AddUser(InternalCommand):
    """Add a user, with new ids and the encrypted hash of the password."""

    user_id: int
    user_uuid: str
    username: str | None
    sealed_password_hash: str
    email: str | None = None
    roles: tuple[str, ...] = ()
    github_username: str | None = None
    gitlab_username: str | None = None
    identity: Identity | None = None


@dataclass(frozen=True)
class SetIdentity(InternalCommand):
    """Link a user to an account at an OpenID provider, or to none."""

    user_id: int
    identity: Identity | None


@dataclass(frozen=True)
class SetPasswordHash(InternalCommand):
    """Replace the encrypted hash of a user's password."""

    user_id: int
    sealed_password_hash: str


@dataclass(frozen=True)
class AddApiToken(InternalCommand):
    """Add a personal token with the hash of its value."""

    user_id: int
    token_id: int
    token_uuid: str
    token_hash: str
    name: str | None
    expires_at: date | None
    scopes: tuple[str, ...]
    today: date


@dataclass(frozen=True)
class AddKey(InternalCommand):
    """Add an SSH key with a new UUID. `today` decides whether the key has expired."""

    user_id: int
    key_uuid: str
    public_key: str | None = field(repr=False)  # may be a private key by mistake
    title: str | None
    today: date
    expires_at: date | None = None


@dataclass(frozen=True)
class AddCompany(InternalCommand):
    """Add a company with a new id. If the alias was generated, it was free when it was looked up."""

    company_id: int
    title: str | None
    alias: str | None
    members_id: tuple[int, ...] = ()


@dataclass(frozen=True)
class RemoveMember(InternalCommand):
    """Remove a member from a company, when the user is deleted."""

    company_id: int
    member_id: int
