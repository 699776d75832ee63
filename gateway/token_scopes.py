"""Which scope a personal token needs on which route: the one place where that is said."""

import re

from contracts.identity import TokenScope

ROLE_PREFIX = re.compile(r"^/(admin|developer)(?=/)")
RESOURCE_PATTERNS: tuple[tuple[str, str], ...] = (  # the beginning of a path below its role; the first that fits counts
    (r"/(project|company)/.+/runners\b", "RUNNER"),
    (r"/project/.+/cicd\b", "BUILD"),
    (r"/(builds|jobs|logs|statistics)\b", "BUILD"),
    (r"/runners\b", "RUNNER"),
    (r"/(secrets|credentials|paginations/secret)\b", "SECRET"),
    (r"/(user|developers|paginations/developer)\b", "USER"),
    (r"/(company|companies)\b", "COMPANY"),
    (r"/teams?\b", "TEAM"),
    (r"/(projects?|deliveries|executors|paginations/project)\b", "PROJECT"),
    (r"/(config|history)\b", "SERVER"),
    (r"/events\b", "EVENT"),
)
EDIT_METHODS = frozenset({"PATCH", "PUT"})
CREDENTIAL_SUFFIX = "/registration-info"  # whoever reads it can make runners
LOGIN_ONLY_ROUTES = frozenset(
    {("POST", "/user/tokens")}
)  # or a token could give itself what it lacks: scopes, and time


def required_scope(method: str, path: str) -> TokenScope | None:
    """Of a route below /api; None where no personal token will do. Raises LookupError for a path that fits nothing."""
    if (method, path) in LOGIN_ONLY_ROUTES:
        return None
    below = ROLE_PREFIX.sub("", path)
    for beginning, noun in RESOURCE_PATTERNS:
        if re.match(beginning, below):
            return TokenScope(f"{noun}_{_action(method, path, noun)}")
    raise LookupError(f"gateway/token_scopes.py does not say which scope {method} {path} needs")


def _action(method: str, path: str, noun: str) -> str:
    if method == "GET" and not path.endswith(CREDENTIAL_SUFFIX):
        return "READ"
    return "EDIT" if noun == "PROJECT" and method in EDIT_METHODS else "WRITE"
