"""The documented routes of the gateway, for tests that call each of them.

Left out: routes of runners, which need runner tokens, and public pictures.
"""

from dataclasses import dataclass
from functools import cache

from fastapi.routing import APIRoute, iter_route_contexts

from gateway.api import create_api
from gateway.dependencies import RequireRole
from gateway.schemas.json_body import Envelope, Fields

OF_RUNNERS = ("/api/v4/", "/-/", "/api/upload/")  # prefixes of the routes that are left out


@dataclass(frozen=True)
class GatewayRoute:
    method: str
    path: str  # below /api, with path parameters as `{project_id:id}`
    status: int
    statuses: frozenset[int]  # all documented status codes
    required: RequireRole | None  # role of the caller; None: anyone
    scopes: tuple[str, ...]  # scopes that a personal access token needs
    body: type[Envelope] | None  # request body of Free Commit's routes

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def body_fields(self) -> type[Fields]:
        assert self.body
        return self.body.fields()


@cache
def list_routes() -> tuple[GatewayRoute, ...]:
    routes = (context.original_route for context in iter_route_contexts(create_api().routes))
    return tuple(
        _to_route(route)
        for route in routes
        if isinstance(route, APIRoute) and route.include_in_schema and not route.path.startswith(OF_RUNNERS)
    )


def _to_route(route: APIRoute) -> GatewayRoute:
    [method] = route.methods or [""]
    status = route.status_code or 200
    body = route.body_field.field_info.annotation if route.body_field else None
    dependency = next((each for each in route.dependant.dependencies if isinstance(each.call, RequireRole)), None)
    return GatewayRoute(
        method,
        route.path.removeprefix("/api"),
        status,
        frozenset({status, *map(int, route.responses)}),
        dependency.call if dependency and isinstance(dependency.call, RequireRole) else None,
        tuple(dependency.own_oauth_scopes or ()) if dependency else (),
        body if isinstance(body, type) and issubclass(body, Envelope) else None,
    )
