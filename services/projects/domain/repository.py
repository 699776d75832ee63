"""Addresses and branches that may be handed to git: nothing it could take for an option or for a helper program."""

import re
from urllib.parse import unquote, urlsplit

from libs.eventstore.decider import RequestRejected
from libs.git_env import split_credentials
from services.projects.domain.validation import require_line

URL_SCHEMES = frozenset({"http", "https", "ssh"})
NAME_PATTERN = r"[A-Za-z0-9_][A-Za-z0-9._~-]*"  # of a user or a host: it must not start with a dash
USER_PATTERN = r"[A-Za-z0-9_%+][A-Za-z0-9._~%+-]*"
AUTHORITY_PATTERN = re.compile(
    rf"(?:{USER_PATTERN}(?::[^@/\s]*)?@)?(?:{NAME_PATTERN}|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?"
)
# "host:path" without slashes before the colon; "::" would name a helper program
SCP_LIKE_PATTERN = re.compile(rf"(?:{NAME_PATTERN}@)?{NAME_PATTERN}:(?![:-]|//).+")
# what git itself refuses in the name of a branch (git-check-ref-format)
INVALID_BRANCH_PATTERN = re.compile(r"^[-./]|[\s\x00-\x1f\x7f~^:?*\[\\]|\.\.|//|/\.|@\{|\.lock(?:/|$)|[./]$|^@$")


def validate_repository(text: str | None) -> str:
    """An address in one of the forms; whether local ones are allowed is not known here."""
    address = require_line(text, "PROJECT_REPOSITORY_REQUIRED")
    if any(character.isspace() for character in address) and not is_local_path(address):
        raise RequestRejected("PROJECT_REPOSITORY_INVALID")
    if is_local_path(address) or _is_url(address) or ("://" not in address and SCP_LIKE_PATTERN.fullmatch(address)):
        return address
    raise RequestRejected("PROJECT_REPOSITORY_INVALID")


def strip_login(text: str | None) -> str:
    """The address as it may be read by others: without a login."""
    return split_credentials(validate_repository(text))[0]


def extract_login(text: str | None) -> str:
    """`user:password` or a lone token, if the address carries them."""
    return split_credentials(validate_repository(text))[1]


def is_local_path(address: str) -> bool:
    return address.startswith("/") or address.lower().startswith("file:///")


def validate_branch(text: str | None) -> str:
    branch = require_line(text, "PROJECT_BRANCH_REQUIRED")
    if branch != "*" and not is_branch_name(branch):
        raise RequestRejected("PROJECT_BRANCH_INVALID")
    return branch


def is_branch_name(text: str) -> bool:
    """Whether git could have a branch of this name."""
    return text != "" and not INVALID_BRANCH_PATTERN.search(text)


def _is_url(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    if parts.scheme == "ssh" and parts.password is not None:
        return False  # ssh takes none, and git would put it on a command line
    if not unquote(parts.netloc).isprintable():
        return False
    return parts.scheme in URL_SCHEMES and AUTHORITY_PATTERN.fullmatch(parts.netloc) is not None and parts.path != ""
