"""Validation of the fields of users."""

import re
from collections.abc import Sequence

from contracts.errors import RequestRejected
from contracts.identity import ROLES

USERNAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
# the addresses that browsers accept in <input type="email">, with at most 64 characters before the @
EMAIL_PATTERN = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}"
    r"@[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)


def validate_username(text: str | None) -> str:
    username = (text or "").strip()
    if not username:
        raise RequestRejected("DEVELOPER_USERNAME_REQUIRED")
    if not USERNAME_PATTERN.fullmatch(username):
        raise RequestRejected("DEVELOPER_USERNAME_INVALID")
    return username


def validate_email(text: str | None) -> str | None:
    email = (text or "").strip()
    if email and not (len(email) <= 254 and EMAIL_PATTERN.fullmatch(email)):
        raise RequestRejected("DEVELOPER_EMAIL_INVALID")
    return email or None


def validate_roles(texts: Sequence[str] | None) -> tuple[str, ...]:
    """Return the roles without duplicates, in the order of ROLES."""
    if texts is None:
        raise RequestRejected("DEVELOPER_ROLES_REQUIRED")
    if not set(texts) <= set(ROLES):
        raise RequestRejected("DEVELOPER_ROLES_INVALID")
    return tuple(role for role in ROLES if role in texts)
