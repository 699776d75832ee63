"""The link of a user to an account at an OpenID provider. At most one user is linked to an account."""

import hashlib
import re
from collections.abc import Sequence

from contracts.errors import RequestRejected
from contracts.identity import UserIdentityLinked, UserIdentityUnlinked
from libs.eventstore.decider import Release, Reservation, Reserve
from services.identity.domain.internal_commands import Identity

SUBJECT_PATTERN = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")  # at most 255 ASCII characters (OpenID Connect Core, 2)

IdentityEvents = list[UserIdentityLinked | UserIdentityUnlinked]


def validate_subject(subject: str | None) -> str:
    if not SUBJECT_PATTERN.fullmatch(subject or ""):
        raise RequestRejected("DEVELOPER_IDENTITY_INVALID")
    return subject or ""


def set_identity(user_id: int, former: Identity | None, identity: Identity | None, epoch: int) -> IdentityEvents:
    """Return the events that replace the link `former`. `epoch`: the epoch of the user.

    The removal of a link ends all sessions of the user. A first link does not.
    """
    if identity == former:
        return []
    unlinked = [UserIdentityUnlinked(user_id=user_id, epoch=epoch + 1)] if former else []
    if identity is None:
        return [*unlinked]
    subject = validate_subject(identity.subject)
    return [*unlinked, UserIdentityLinked(user_id=user_id, issuer=identity.issuer, subject=subject)]


def identity_reservations(identity: Identity | None) -> list[Reserve]:
    """Return the reservation of the account. Its key is a hash, because reservations are stored unencrypted."""
    if identity is None:
        return []
    digest = hashlib.sha256(f"{identity.issuer}\n{identity.subject}".encode()).hexdigest()
    return [Reserve(f"identity:{digest}", "DEVELOPER_IDENTITY_TAKEN")]


def release_identity(identity: Identity | None) -> Sequence[Reservation]:
    return [Release(reservation.key) for reservation in identity_reservations(identity)]
