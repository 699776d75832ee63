"""Addresses of existing clients: every API route is registered once, below `/api`, and answers under all of them."""

CLIENT_PREFIXES = ("/api-free-commit/", "/rest-api/")
OWN_PREFIXES = ("/api/", "/-/")
UNPREFIXED_PATHS = frozenset({"/api", "/healthz", "/readyz", "/metrics"})


def canonical_path(path: str) -> str:
    """`/api-free-commit/x`, `/rest-api/x` and `/x` are `/api/x`."""
    for prefix in CLIENT_PREFIXES:
        if path.startswith(prefix):
            return "/api" + path[len(prefix) - 1 :]
    if path.startswith(OWN_PREFIXES) or path in UNPREFIXED_PATHS:
        return path
    return "/api" + path
