"""Path prefixes of existing clients. API routes are registered below `/api` and reachable under all prefixes."""

CLIENT_PREFIXES = ("/api-free-commit/", "/rest-api/")
OWN_PREFIXES = ("/api/", "/-/")
UNPREFIXED_PATHS = frozenset({"/api", "/healthz", "/readyz", "/metrics"})


def canonical_path(path: str) -> str:
    """Return the path below `/api`: `/api-free-commit/x`, `/rest-api/x` and `/x` become `/api/x`."""
    for prefix in CLIENT_PREFIXES:
        if path.startswith(prefix):
            return "/api" + path[len(prefix) - 1 :]
    if path.startswith(OWN_PREFIXES) or path in UNPREFIXED_PATHS:
        return path
    return "/api" + path
