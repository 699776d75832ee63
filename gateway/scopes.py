"""Which scope a personal token needs on which route: the one place where that is said."""

import re

from contracts.identity import TokenScope

ROLE = re.compile(r"^/(admin|developer)(?=/)")
NOUNS: tuple[tuple[str, str], ...] = (  # the beginning of a path below its role; the first that fits counts
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
CHANGES = frozenset({"PATCH", "PUT"})
CREDENTIAL = "/registration-info"  # whoever reads it can make runners
LOG_IN_ONLY = frozenset({("POST", "/user/tokens")})  # or a token could give itself what it lacks: scopes, and time


def scope_of(method: str, path: str) -> TokenScope | None:
    """Of a route below /api; None where no personal token will do. Raises LookupError for a path that fits nothing."""
    if (method, path) in LOG_IN_ONLY:
        return None
    below = ROLE.sub("", path)
    for beginning, noun in NOUNS:
        if re.match(beginning, below):
            return TokenScope(f"{noun}_{_verb(method, path, noun)}")
    raise LookupError(f"gateway/scopes.py does not say which scope {method} {path} needs")


def _verb(method: str, path: str, noun: str) -> str:
    if method == "GET" and not path.endswith(CREDENTIAL):
        return "READ"
    return "EDIT" if noun == "PROJECT" and method in CHANGES else "WRITE"
