"""An SSH key of a user: usable, nobody else's, and not over already."""

from collections.abc import Mapping

from contracts.errors import Refused
from contracts.identity import AddSshKey, RemoveSshKey, SshKeyAdded, SshKeyRemoved
from libs.deciding import Take
from libs.security.ssh_keys import BrokenKey, PrivateKey, WeakKey, fingerprint

MOST = 500  # of one user

Keys = Mapping[str, str]  # uuid -> fingerprint


def added(keys: Keys, command: AddSshKey) -> SshKeyAdded:
    title = (command.title or "").strip()
    if not title:
        raise Refused("KEY_TITLE_REQUIRED")
    if not command.public_key or not command.public_key.strip():
        raise Refused("KEY_PUBLIC_KEY_REQUIRED")
    found = valid(command.public_key)
    if command.expires_at and command.expires_at < command.today:
        raise Refused("KEY_EXPIRES_AT_PAST")
    if found in keys.values():
        raise Refused("KEY_PUBLIC_KEY_TAKEN")
    if len(keys) >= MOST:
        raise Refused("KEY_LIMIT")
    return SshKeyAdded(
        user_id=command.user_id,
        key_uuid=command.key_uuid,
        public_key=command.public_key,
        title=title,
        fingerprint=found,
        expires_at=command.expires_at.isoformat() if command.expires_at else None,
    )


def removed(keys: Keys, command: RemoveSshKey) -> SshKeyRemoved:
    if command.key_uuid not in keys:
        raise Refused("KEY_NOT_FOUND")
    return SshKeyRemoved(user_id=command.user_id, key_uuid=command.key_uuid)


def valid(public_key: str) -> str:
    """Its fingerprint."""
    try:
        return fingerprint(public_key)
    except BrokenKey:
        raise Refused("KEY_PUBLIC_KEY_INVALID") from None
    except WeakKey:
        raise Refused("KEY_PUBLIC_KEY_WEAK") from None
    except PrivateKey:
        raise Refused("KEY_PUBLIC_KEY_PRIVATE") from None


def claim(fingerprint: str) -> Take:
    """A key logs one user in, whoever that is."""
    return Take(f"ssh-key:{fingerprint}", "KEY_PUBLIC_KEY_TAKEN")
