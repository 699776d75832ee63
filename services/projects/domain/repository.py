"""Validation of repository URLs and branch names.

Nothing is accepted that git could interpret as an option or as a remote helper.
"""

import re
from urllib.parse import unquote, urlsplit

from libs.branch_names import is_branch_name
from libs.eventstore.decider import RequestRejected
from libs.git_env import split_credentials
from services.projects.domain.validation import require_line

URL_SCHEMES = frozenset({"http", "https", "ssh"})
NAME_PATTERN = r"[A-Za-z0-9_][A-Za-z0-9._~-]*"  # user or host name: no leading dash
USER_PATTERN = r"[A-Za-z0-9_%+][A-Za-z0-9._~%+-]*"
AUTHORITY_PATTERN = re.compile(
    rf"(?:{USER_PATTERN}(?::[^@/\s]*)?@)?(?:{NAME_PATTERN}|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?"
)
# "host:path" without slashes before the colon; git reads "::" as a remote helper
SCP_LIKE_PATTERN = re.compile(rf"(?:{NAME_PATTERN}@)?{NAME_PATTERN}:(?![:-]|//).+")


def validate_repository(text: str | None) -> str:
    """Return the trimmed URL or local path. The caller checks whether local paths are allowed on this server."""
    address = require_line(text, "PROJECT_REPOSITORY_REQUIRED")
    if any(character.isspace() for character in address) and not is_local_path(address):
        raise RequestRejected("PROJECT_REPOSITORY_INVALID")
    if is_local_path(address) or _is_url(address) or ("://" not in address and SCP_LIKE_PATTERN.fullmatch(address)):
        return address
    raise RequestRejected("PROJECT_REPOSITORY_INVALID")


def strip_login(text: str | None) -> str:
    return split_credentials(validate_repository(text))[0]


def extract_login(text: str | None) -> str:
    """Return the login in the URL: `user:password`, or a token. Return an empty string if the URL has no login."""
    return split_credentials(validate_repository(text))[1]


def is_local_path(address: str) -> bool:
    return address.startswith("/") or address.lower().startswith("file:///")


def validate_branch(text: str | None) -> str:
    branch = require_line(text, "PROJECT_BRANCH_REQUIRED")
    if branch != "*" and not is_branch_name(branch):
        raise RequestRejected("PROJECT_BRANCH_INVALID")
    return branch


def _is_url(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    if parts.scheme == "ssh" and parts.password is not None:
        return False  # ssh accepts no password here, and git would put it on a command line
    if not unquote(parts.netloc).isprintable():
        return False
    return parts.scheme in URL_SCHEMES and AUTHORITY_PATTERN.fullmatch(parts.netloc) is not None and parts.path != ""
