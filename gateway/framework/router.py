"""The router: finds the endpoint for a path and method."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.context import AppState
from gateway.framework.fields import MAX_ID
from gateway.framework.route_table import Endpoint, Raw, Route

CAPTURED = re.compile(r"\{(\w+)")
KIND = re.compile(r":\w+}")  # the convertor of a path parameter


class Id(Convertor[int]):
    """Convertor of decimal ids that fit into 64 bits; larger ids give 404."""

    regex = "[0-9]{1,19}"

    def convert(self, value: str) -> int:
        if int(value) > MAX_ID:
            raise HTTPException(404)
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


Pattern = tuple[re.Pattern[str], dict[str, Convertor[Any]], "Address"]


@dataclass
class Address:
    """The endpoints of one path pattern by method. Methods may name the pattern's parameters differently."""

    path: str
    endpoints: dict[str, tuple[str, list[str], ASGIApp]] = field(default_factory=dict)

    def add(self, method: str, path: str, endpoint: ASGIApp) -> None:
        for each in (method, "HEAD") if method == "GET" else (method,):
            self.endpoints[each] = (KIND.sub("}", path), CAPTURED.findall(path), endpoint)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in self.endpoints:
            allowed = {"Allow": ", ".join((*self.endpoints, "OPTIONS"))}
            if scope["method"] != "OPTIONS":
                raise HTTPException(405, headers=allowed)
            await Response(status_code=204, headers=allowed)(scope, receive, send)
            return
        path, names, endpoint = self.endpoints[scope["method"]]
        scope["route_path"] = path
        scope["path_params"] = dict(zip(names, scope["path_params"].values(), strict=True))
        await endpoint(scope, receive, send)


class Addresses:
    """The routing table. Paths without parameters are looked up in a dict, others by their number of segments."""

    def __init__(self, addresses: Iterable[Address], otherwise: ASGIApp) -> None:
        self._otherwise = otherwise
        self._plain: dict[str, Address] = {}
        self._capturing = defaultdict[int, list[Pattern]](list)  # patterns by number of segments
        self._long: list[Pattern] = []  # patterns with a parameter that spans segments
        for one in addresses:
            if "{" in one.path:
                expression, _, convertors = compile_path(one.path)
                alike = self._long if ":path}" in one.path else self._capturing[one.path.count("/")]
                alike.append((expression, convertors, one))
            else:
                self._plain[one.path] = one

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["path_params"] = {}
        await (self._plain.get(scope["path"]) or self._matching(scope))(scope, receive, send)

    def _matching(self, scope: Scope) -> ASGIApp:
        path: str = scope["path"]
        for expression, convertors, one in chain(self._capturing.get(path.count("/"), ()), self._long):
            if match := expression.match(path):
                captured = match.groupdict().items()
                scope["path_params"] = {name: convertors[name].convert(text) for name, text in captured}
                return one
        return self._otherwise


def addresses(app_state: AppState, raw: Iterable[Raw], table: Iterable[Route]) -> list[Address]:
    """Return the addresses of all routes in the order of the tables, in which frequent routes come first."""
    register_url_convertor("id", Id())
    addresses: dict[str, Address] = {}

    def add(method: str, path: str, endpoint: ASGIApp) -> None:
        shape = CAPTURED.sub("{", path)
        addresses.setdefault(shape, Address(path)).add(method, path, endpoint)

    for one in raw:
        add(one.method, one.path, partial(one.handle, app_state))
    for route in table:
        add(route.method, "/api" + route.path, Endpoint(app_state, route))
    return list(addresses.values())
