"""Addresses and branches that may be handed to git: nothing it could take for an option or for a helper program."""

import re
from urllib.parse import unquote, urlsplit

from libs.deciding import Refused
from libs.git import without_credentials
from services.projects.domain.text import required_line

SCHEMES = frozenset({"http", "https", "ssh"})
NAME = r"[A-Za-z0-9_][A-Za-z0-9._~-]*"  # of a user or a host: it must not start with a dash
USER = r"[A-Za-z0-9_%+][A-Za-z0-9._~%+-]*"
AUTHORITY = re.compile(rf"(?:{USER}(?::[^@/\s]*)?@)?(?:{NAME}|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?")
# "host:path" without slashes before the colon; "::" would name a helper program
SCP_LIKE = re.compile(rf"(?:{NAME}@)?{NAME}:(?![:-]|//).+")
# what git itself refuses in the name of a branch (git-check-ref-format)
NO_BRANCH = re.compile(r"^[-./]|[\s\x00-\x1f\x7f~^:?*\[\\]|\.\.|//|/\.|@\{|\.lock(?:/|$)|[./]$|^@$")


def valid_repository(text: str | None) -> str:
    """An address in one of the forms; whether local ones are allowed is not known here."""
    address = required_line(text, "PROJECT_REPOSITORY_REQUIRED")
    if any(character.isspace() for character in address) and not is_local(address):
        raise Refused("PROJECT_REPOSITORY_INVALID")
    if is_local(address) or _is_url(address) or ("://" not in address and SCP_LIKE.fullmatch(address)):
        return address
    raise Refused("PROJECT_REPOSITORY_INVALID")


def bare_repository(text: str | None) -> str:
    """The address as it may be read by others: without a login."""
    return without_credentials(valid_repository(text))[0]


def login_of(text: str | None) -> str:
    """`user:password` or a lone token, if the address carries them."""
    return without_credentials(valid_repository(text))[1]


def is_local(address: str) -> bool:
    return address.startswith("/") or address.lower().startswith("file:///")


def valid_branch(text: str | None) -> str:
    branch = required_line(text, "PROJECT_BRANCH_REQUIRED")
    if branch != "*" and not is_branch(branch):
        raise Refused("PROJECT_BRANCH_INVALID")
    return branch


def is_branch(text: str) -> bool:
    """Whether git could have a branch of this name."""
    return text != "" and not NO_BRANCH.search(text)


def _is_url(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    if parts.scheme == "ssh" and parts.password is not None:
        return False  # ssh takes none, and git would put it on a command line
    if not unquote(parts.netloc).isprintable():
        return False
    return parts.scheme in SCHEMES and AUTHORITY.fullmatch(parts.netloc) is not None and parts.path != ""
