"""Dependencies of route handlers: the caller, the message bus, and the client's address.

A parameter of a handler says who may call the route. With `Annotated[Actor, Security(admin,
scopes=["SECRET_WRITE"])]`, it is the token's user, who must have the role `admin`. A personal token must have the
scope. Without a scope, personal tokens are not accepted.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from starlette.responses import Response

from contracts.errors import RequestRejected
from contracts.identity import TokenScope
from contracts.messages import Command
from gateway.auth import Role
from gateway.context import AppState
from gateway.errors import RespondInstead
from gateway.forwarding.request_bus import RequestBus
from gateway.http.client_ip import client_ip
from gateway.http.rate_limits import client_key
from gateway.http.session_cookie import read_request_token
from libs.eventstore.decider import SYSTEM, Actor


async def get_state(request: Request) -> AppState:
    state: AppState = request.app.state.gateway
    return state


State = Annotated[AppState, Depends(get_state)]


class RequireRole(SecurityBase):
    """A dependency that returns the caller, who must have a role. An invalid token gives 401, in GitFlic's API 403."""

    def __init__(self, role: Role, *, unauthenticated_status: int = 401) -> None:
        self.role = role
        self.unauthenticated_status = unauthenticated_status
        self.scheme_name = "bearer"
        self.model = HTTPBearerModel(
            description="`Authorization: Bearer <token>` with a login token or a personal token; "
            "`Authorization: token <token>` is the same. Pages of this server can use the cookie of "
            "`POST /api/auth/session` instead"
        )

    async def __call__(self, request: Request, scopes: SecurityScopes) -> Actor:
        state: AppState = request.app.state.gateway
        return await self.authenticate(request, state, TokenScope(scopes.scopes[0]) if scopes.scopes else None)

    async def authenticate(self, request: Request, state: AppState, scope: TokenScope | None) -> Actor:
        """Return the user, who has the role.

        Raises the errors of `read_request_token` and `Authenticator.authenticate`, and TOO_MANY_REQUESTS. In GitFlic's
        API, FORBIDDEN takes the place of codes with the status 401.
        """
        limits = state.rate_limits

        def client() -> str:
            return client_key(client_ip(request.scope, state.settings.trusted_proxies))

        try:
            token = read_request_token(request, state.settings)
            actor = await state.authenticator.authenticate(
                token, self.role, scope, lambda: limits.of_addresses.check(client())
            )
        except RequestRejected as rejection:
            if rejection.failure.status != 401:
                raise
            limits.of_addresses.take(client())
            if self.unauthenticated_status != 401:
                raise RequestRejected("FORBIDDEN", rejection.failure.detail) from None
            raise
        limits.of_users.take(str(actor.id))
        return actor

    async def is_allowed(self, request: Request, state: AppState, scope: TokenScope | None) -> bool:
        """Return whether the caller of a long response still has the role. False if that cannot be checked."""
        try:
            await self.authenticate(request, state, scope)
        except RequestRejected:
            return False
        return True


any_user = RequireRole(Role.USER)
developer = RequireRole(Role.DEVELOPER)
admin = RequireRole(Role.ADMIN)
gitflic_user = RequireRole(Role.USER, unauthenticated_status=403)
gitflic_admin = RequireRole(Role.ADMIN, unauthenticated_status=403)


async def get_bus(request: Request) -> RequestBus:
    return RequestBus(request, request.app.state.gateway)


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="a retry with the same key gets the same response and has no second effect",
        pattern="^[ -~]{1,255}$",
    ),
]


async def get_idempotent_bus(request: Request, key: IdempotencyKey = None) -> RequestBus:
    return RequestBus(request, request.app.state.gateway, key)


Bus = Annotated[RequestBus, Depends(get_bus)]
IdempotentBus = Annotated[RequestBus, Depends(get_idempotent_bus)]


async def get_client_ip(request: Request, state: State) -> str:
    """Return the client's IP address: the connection's, or the one that a trusted proxy reports."""
    return client_ip(request.scope, state.settings.trusted_proxies)


ClientIp = Annotated[str, Depends(get_client_ip)]


async def anyone(state: State, address: ClientIp) -> Actor:
    """Return the anonymous caller of a route that needs no token. Raises TOO_MANY_REQUESTS."""
    state.rate_limits.of_addresses.take(client_key(address))
    return SYSTEM


Anyone = Annotated[Actor, Depends(anyone)]


async def limit_refusals(state: State, address: ClientIp) -> AsyncIterator[None]:
    """Limit the refused requests of an address, for routes whose credentials the handler or a service checks."""
    limit, client = state.rate_limits.of_addresses, client_key(address)
    limit.check(client)
    try:
        yield
    except RequestRejected as rejection:
        if rejection.failure.status in (401, 403):
            limit.record(client)
        raise


def repeatable(command: type[Command], user: Any, status_code: int) -> Any:
    """Return a dependency for commands to an object that is looked up first, and that the command may delete or rename.

    If that lookup fails in a retry with the same Idempotency-Key, the response of the first request is repeated.
    """

    async def check(user: user, bus: IdempotentBus) -> AsyncIterator[None]:
        try:
            yield
        except RequestRejected as rejection:
            if rejection.failure.status == 404 and await bus.has_recorded_response(command, user):
                raise RespondInstead(Response(status_code=status_code)) from rejection
            raise

    return Depends(check)


def requires(route_dependency: Any) -> RequireRole | None:
    """Return the RequireRole of an `Annotated[Actor, Security(...)]`, or None for routes without a token."""
    required = route_dependency.__metadata__[0].dependency
    return required if isinstance(required, RequireRole) else None
