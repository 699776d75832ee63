"""Path prefixes of existing clients. The routes below `/api` are also reachable under these, and without a prefix."""

from collections.abc import Iterable
from enum import StrEnum


class CompatibleApi(StrEnum):
    """An API of another product that the gateway serves. The values are the names in `Settings.api`."""

    FREE_COMMIT = "free_commit"
    GITFLIC = "gitflic"
    RUNNERS = "runners"


PREFIXES = {CompatibleApi.FREE_COMMIT: "/api-free-commit/", CompatibleApi.GITFLIC: "/rest-api/"}
CLIENT_PREFIXES = tuple(PREFIXES.values())
OWN_PREFIXES = ("/api/", "/-/", "/ui/")
UNPREFIXED_PATHS = frozenset({"/api", "/ui", "/healthz", "/readyz", "/metrics"})


def client_prefixes(apis: Iterable[CompatibleApi]) -> tuple[str, ...]:
    return tuple(PREFIXES[api] for api in apis if api in PREFIXES)


def canonical_path(path: str, prefixes: tuple[str, ...] = CLIENT_PREFIXES) -> str:
    """Return the path of the route: `/api-free-commit/x`, `/rest-api/x` and `/x` become `/api/x`, `/healthz` stays."""
    for prefix in prefixes:
        if path.startswith(prefix):
            return "/api" + path[len(prefix) - 1 :]
    if path.startswith(OWN_PREFIXES) or path in UNPREFIXED_PATHS:
        return path
    return "/api" + path
