"""What usernames, e-mail addresses and roles may be."""

import re
from collections.abc import Sequence

from contracts.errors import Refused
from contracts.identity import ROLES

USERNAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
# what a browser accepts in <input type="email">
EMAIL = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}"
    r"@[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)


def valid_username(text: str | None) -> str:
    username = (text or "").strip()
    if not username:
        raise Refused("DEVELOPER_USERNAME_REQUIRED")
    if not USERNAME.fullmatch(username):
        raise Refused("DEVELOPER_USERNAME_INVALID")
    return username


def valid_email(text: str | None) -> str | None:
    email = (text or "").strip()
    if email and not (len(email) <= 254 and EMAIL.fullmatch(email)):
        raise Refused("DEVELOPER_EMAIL_INVALID")
    return email or None


def valid_roles(texts: Sequence[str] | None) -> tuple[str, ...]:
    """Each at most once, in one order."""
    if texts is None:
        raise Refused("DEVELOPER_ROLES_REQUIRED")
    if not set(texts) <= set(ROLES):
        raise Refused("DEVELOPER_ROLES_INVALID")
    return tuple(role for role in ROLES if role in texts)


def optional(text: str | None) -> str | None:
    return (text or "").strip() or None
