"""Routes of sign-in, ping, and the user of a token."""

from typing import Annotated

from fastapi import Security
from starlette.responses import Response

from contracts.identity import LogIn
from gateway.adapters.free_commit.models import TOKEN, User
from gateway.adapters.free_commit.request_fields import AUTH
from gateway.dependencies import Anyone, ClientIp, any_user
from gateway.errors import READ_ERRORS, errors
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import json_router
from libs.eventstore.decider import Actor

sign_in = json_router("/api/auth", "Access")
users = json_router("/api/user", "Access")
guests = json_router("/api/guest", "Server")

forward(
    sign_in,
    "POST",
    "/token",
    LogIn,
    Anyone,
    "Sign in and get a token. A failure takes the same time whether or not the user exists.",
    body=AUTH,
    response=TOKEN,
    timeout=10,
    errors=("UNAUTHORIZED", "TOO_MANY_REQUESTS"),
    ip_address=ClientIp,
)


@users.get("/info", summary="Get the user of the token, with the current roles.", responses=errors(*READ_ERRORS))
async def get_user_info(user: Annotated[Actor, Security(any_user, scopes=["USER_READ"])]) -> User:
    return User(id=user.id, username=user.name, roles=user.roles)


@guests.get("/ping", summary="Check that the server is running.", response_class=Response)
async def ping(_user: Anyone) -> Response:
    return Response()
