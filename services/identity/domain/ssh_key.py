"""Rules for the SSH keys of a user: valid, unexpired, and assigned to one user only."""

from collections.abc import Mapping

from contracts.errors import RequestRejected
from contracts.identity import RemoveSshKey, SshKeyAdded, SshKeyRemoved
from libs.eventstore.decider import Reserve
from libs.security.ssh_keys import InvalidKey, UnexpectedPrivateKey, WeakKey, compute_fingerprint
from services.identity.domain.internal_commands import AddKey

MAX_KEYS_PER_USER = 500

FingerprintsByUuid = Mapping[str, str]  # key UUID -> fingerprint


def add_key(keys: FingerprintsByUuid, command: AddKey) -> SshKeyAdded:
    """Return the event that adds the key. Raises RequestRejected if it is invalid, a duplicate, or one key too many."""
    title = (command.title or "").strip()
    if not title:
        raise RequestRejected("KEY_TITLE_REQUIRED")
    if not command.public_key or not command.public_key.strip():
        raise RequestRejected("KEY_PUBLIC_KEY_REQUIRED")
    fingerprint = validate_public_key(command.public_key)
    if command.expires_at and command.expires_at < command.today:
        raise RequestRejected("KEY_EXPIRES_AT_PAST")
    if fingerprint in keys.values():
        raise RequestRejected("KEY_PUBLIC_KEY_TAKEN")
    if len(keys) >= MAX_KEYS_PER_USER:
        raise RequestRejected("KEY_LIMIT")
    return SshKeyAdded(
        user_id=command.user_id,
        key_uuid=command.key_uuid,
        public_key=command.public_key,
        title=title,
        fingerprint=fingerprint,
        expires_at=command.expires_at.isoformat() if command.expires_at else None,
    )


def remove_key(keys: FingerprintsByUuid, command: RemoveSshKey) -> SshKeyRemoved:
    key_uuid = command.key_uuid.lower()
    if key_uuid not in keys:
        raise RequestRejected("KEY_NOT_FOUND")
    return SshKeyRemoved(user_id=command.user_id, key_uuid=key_uuid)


def validate_public_key(public_key: str) -> str:
    """Return the fingerprint of the key. Raises RequestRejected for an unusable key."""
    try:
        return compute_fingerprint(public_key)
    except InvalidKey:
        raise RequestRejected("KEY_PUBLIC_KEY_INVALID") from None
    except WeakKey:
        raise RequestRejected("KEY_PUBLIC_KEY_WEAK") from None
    except UnexpectedPrivateKey:
        raise RequestRejected("KEY_PUBLIC_KEY_PRIVATE") from None


def fingerprint_reservation(fingerprint: str) -> Reserve:
    """Return the reservation of a fingerprint: a key identifies one user."""
    return Reserve(f"ssh-key:{fingerprint}", "KEY_PUBLIC_KEY_TAKEN")
