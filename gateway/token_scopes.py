"""The scope that a personal access token needs for each route."""

import re

from contracts.identity import TokenScope

ROLE_PREFIX = re.compile(r"^/(admin|developer)(?=/)")
# patterns of paths without their role prefix, each with the resource whose scope is needed; the first match counts
RESOURCE_PATTERNS: tuple[tuple[str, str], ...] = (
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
# end of paths that respond with a registration token: needs a write scope, because the token can register runners
CREDENTIAL_SUFFIX = "/registration-info"
# a personal token must not be usable to create a token with more scopes or a later expiry
LOGIN_ONLY_ROUTES = frozenset({("POST", "/user/tokens")})


def required_scope(method: str, path: str) -> TokenScope | None:
    """Return the scope for a route below /api, or None if personal tokens are not accepted there.

    Raises LookupError for a path that matches no pattern.
    """
    if (method, path) in LOGIN_ONLY_ROUTES:
        return None
    below = ROLE_PREFIX.sub("", path)
    for pattern, resource in RESOURCE_PATTERNS:
        if re.match(pattern, below):
            return TokenScope(f"{resource}_{_action(method, path, resource)}")
    raise LookupError(f"no scope is defined for {method} {path}: add a pattern to gateway/token_scopes.py")


def _action(method: str, path: str, resource: str) -> str:
    if method == "GET" and not path.endswith(CREDENTIAL_SUFFIX):
        return "READ"
    return "EDIT" if resource == "PROJECT" and method in EDIT_METHODS else "WRITE"
