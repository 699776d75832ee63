"""A router whose routes all begin with its prefix."""

from typing import Any

from fastapi import APIRouter
from starlette.routing import Match
from starlette.types import Scope

from gateway.http.json_request import FreeCommitRoute, JsonRoute


class PrefixRouter(APIRouter):
    """An APIRouter that is skipped at once for other paths: matching the gateway's 160 routes one by one takes long."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._literal_prefix = self.prefix.partition("{")[0]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if not scope["path"].startswith(self._literal_prefix):
            return Match.NONE, {}
        return super().matches(scope)


def free_commit_router(prefix: str, tag: str) -> PrefixRouter:
    return PrefixRouter(prefix=prefix, tags=[tag], route_class=FreeCommitRoute)


def gitflic_router(prefix: str, tag: str) -> PrefixRouter:
    return PrefixRouter(prefix=prefix, tags=[tag], route_class=JsonRoute)
