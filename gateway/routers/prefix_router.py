"""A router whose routes all begin with its prefix."""

from typing import Any

from fastapi import APIRouter
from starlette.routing import Match
from starlette.types import Scope

from gateway.http.json_request import FreeCommitRoute, JsonRoute
from gateway.http.path_prefixes import CompatibleApi


class PrefixRouter(APIRouter):
    """An APIRouter that is skipped at once for other paths: matching hundreds of routes one by one takes long."""

    def __init__(self, api: CompatibleApi | None = None, **options: Any) -> None:
        """`api` is the compatible API that the routes belong to, or None for Headrace's own routes."""
        super().__init__(**options)
        self.api = api
        self._literal_prefix = self.prefix.partition("{")[0]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if not scope["path"].startswith(self._literal_prefix):
            return Match.NONE, {}
        return super().matches(scope)


def json_router(prefix: str, tag: str, api: CompatibleApi | None = None) -> PrefixRouter:
    """Return a router whose request bodies have Free Commit's form."""
    return PrefixRouter(api, prefix=prefix, tags=[tag], route_class=FreeCommitRoute)


def free_commit_router(prefix: str, tag: str) -> PrefixRouter:
    return json_router(prefix, tag, CompatibleApi.FREE_COMMIT)


def gitflic_router(prefix: str, tag: str) -> PrefixRouter:
    return PrefixRouter(CompatibleApi.GITFLIC, prefix=prefix, tags=[tag], route_class=JsonRoute)
