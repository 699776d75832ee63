"""Routes of browser sessions: a login token in a cookie that scripts cannot read."""

from typing import Any

from fastapi import Depends, Request
from starlette.responses import Response

from contracts.errors import RequestRejected
from contracts.identity import LogIn, RenewSession, Session
from gateway.adapters.free_commit.models import User
from gateway.adapters.free_commit.request_fields import AUTH
from gateway.auth import Role
from gateway.context import AppState
from gateway.dependencies import Anyone, ClientIp, State, limit_refusals
from gateway.errors import ANY_ROUTE, COOKIES, TOKENS, WRITES, errors
from gateway.forwarding.forward import build_message
from gateway.http.session_cookie import read_session, require_same_origin, set_session
from gateway.routers.prefix_router import json_router
from gateway.schemas.console.session_view import SessionView
from libs.messaging.request_reply import MessageClient

TIMEOUT_SECONDS = 10.0  # password hashing is slow on purpose
SESSION_ERRORS = (*ANY_ROUTE, *TOKENS, *COOKIES)
SignIn: Any = AUTH

router = json_router("/api/auth/session", "Access")


@router.post(
    "",
    response_model=SessionView,
    summary="Sign in and set the session cookie, which grants the same access as a token.",
    responses=errors(*ANY_ROUTE, *COOKIES, *WRITES, "UNAUTHORIZED", "PASSWORD_SIGN_IN_DISABLED"),
    dependencies=[Depends(require_same_origin)],
)
async def create_session(body: SignIn, _user: Anyone, ip_address: ClientIp, request: Request, state: State) -> Response:
    if not state.settings.oidc.password_sign_in:
        raise RequestRejected("PASSWORD_SIGN_IN_DISABLED")
    command = build_message(LogIn, {**body.message_fields(), "ip_address": ip_address}, AUTH)
    return await _start_session(request, state, command)


@router.post(
    "/renew",
    response_model=SessionView,
    summary="Renew the session of the cookie.",
    responses=errors(*SESSION_ERRORS, "SESSION_EXPIRED", "REQUEST_TOO_LARGE", "CONFLICT"),
    dependencies=[Depends(require_same_origin), Depends(limit_refusals)],
)
async def renew_session(request: Request, state: State) -> Response:
    token = read_session(request, state.settings)
    if not token:
        raise RequestRejected("UNAUTHORIZED", "This request needs the session cookie of `POST /api/auth/session`.")
    return await _start_session(request, state, RenewSession(token=token))


@router.delete(
    "",
    status_code=204,
    summary="Delete the cookie of the session.",
    responses=errors(*ANY_ROUTE, *COOKIES),
    dependencies=[Depends(require_same_origin)],
)
async def delete_session(_user: Anyone, request: Request, state: State) -> Response:
    response = Response(status_code=204)
    set_session(response, request, state.settings, "", 0)
    return response


async def _start_session(request: Request, state: AppState, command: LogIn | RenewSession) -> Response:
    """Send the command and respond with the cookie of the session that it returns."""
    bus: MessageClient = state.bus
    session = Session.model_validate_json(await bus.send(command, timeout=TIMEOUT_SECONDS))
    user = await state.authenticator.authenticate(session.access_token, Role.USER, None)
    view = SessionView(
        user=User(id=user.id, username=user.name, roles=user.roles),
        expires_in=session.expires_in,
        renewable_for=session.renewable_for,
    )
    response = Response(view.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})
    set_session(response, request, state.settings, session.access_token, session.expires_in)
    return response
