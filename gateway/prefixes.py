"""Addresses of existing clients: every API route is registered once, below `/api`, and answers under all of them."""

FOREIGN = ("/api-free-commit/", "/rest-api/")
KEPT = ("/api/", "/-/")
PROBES = frozenset({"/api", "/healthz", "/readyz", "/metrics"})


def canonical(path: str) -> str:
    """`/api-free-commit/x`, `/rest-api/x` and `/x` are `/api/x`."""
    for prefix in FOREIGN:
        if path.startswith(prefix):
            return "/api" + path[len(prefix) - 1 :]
    if path.startswith(KEPT) or path in PROBES:
        return path
    return "/api" + path
