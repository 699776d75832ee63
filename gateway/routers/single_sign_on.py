"""Routes of the sign-in with an OpenID provider, and of the links between users and accounts at the provider."""

from typing import Annotated, Any

from fastapi import Depends, Query, Request, Security
from pydantic import AfterValidator
from starlette.responses import RedirectResponse, Response

from contracts.errors import RequestRejected
from contracts.identity import (
    MAX_CODE_LENGTH,
    MAX_REDIRECT_URI_LENGTH,
    MAX_STATE_LENGTH,
    FinishOidcSignIn,
    GetIdentityLink,
    LinkIdentity,
    OidcRequest,
    OidcSignIn,
    StartOidcSignIn,
)
from gateway.context import AppState
from gateway.dependencies import Anyone, Bus, ClientIp, State, admin, any_user
from gateway.errors import ANY_ROUTE, COOKIES, READ_ERRORS, WRITES, errors
from gateway.forwarding.forward import forward, refuse_head
from gateway.http.session_cookie import set_session
from gateway.http.sign_in_cookie import PendingSignIn, delete_sign_in, is_console_page, with_result
from gateway.routers.console.own_account import check_password
from gateway.routers.prefix_router import json_router
from gateway.routers.tokens import own_user
from gateway.schemas.console.account import IDENTITY, IDENTITY_LINK, CurrentPasswordRequest
from gateway.schemas.console.session_view import ProviderPage, ProviderSignIn, SignInMethods
from libs.eventstore.decider import Actor

TIMEOUT_SECONDS = 30.0  # enough for four requests to the provider
HOME, PROFILE = "/ui/", "/ui/me"
CALLBACK = "/api/auth/oidc/callback"
SUCCESS, LINKED = "ok", "linked"  # results for the console, besides error codes
LINK_ERRORS = ("OIDC_DISABLED", "DEVELOPER_IDENTITY_INVALID", "DEVELOPER_IDENTITY_TAKEN")

AdminReader = Annotated[Actor, Security(admin, scopes=["USER_READ"])]
AdminWriter = Annotated[Actor, Security(admin, scopes=["USER_WRITE"])]
Owner = Annotated[Actor, Security(any_user)]  # no scope: a personal token must not add a way to sign in
PasswordBody: Any = CurrentPasswordRequest


def require_console_page(page: str) -> str:
    if not is_console_page(page):
        raise ValueError("must be the path of a page below /ui")
    return page


ReturnTo = Annotated[
    str,
    AfterValidator(require_console_page),
    Query(description="page of the console to return to", examples=["/ui/builds/17"]),
]
ProviderState = Annotated[str, Query(max_length=MAX_STATE_LENGTH)]
Code = Annotated[str, Query(max_length=MAX_CODE_LENGTH)]
ProviderError = Annotated[str, Query(max_length=MAX_STATE_LENGTH)]
Issuer = Annotated[str | None, Query(alias="iss", max_length=MAX_REDIRECT_URI_LENGTH, description="issuer (RFC 9207)")]

sign_in = json_router("/api/auth", "Access")
own = json_router("/api/user/identity", "Access")
admins = json_router("/api/admin/developers", "Developers")


@sign_in.get("/methods", summary="Get the ways to sign in to the console.", responses=errors(*ANY_ROUTE))
async def get_sign_in_methods(_user: Anyone, state: State) -> SignInMethods:
    oidc = state.settings.oidc
    provider = ProviderSignIn(name=oidc.name, path="/api/auth/oidc/login") if oidc.issuer else None
    return SignInMethods(password=oidc.password_sign_in, oidc=provider)


@sign_in.get(
    "/oidc/login",
    status_code=303,
    response_class=Response,
    summary="Redirect a browser to the OpenID provider, to sign in.",
    responses=errors(*ANY_ROUTE, "OIDC_DISABLED", "REQUEST_INVALID"),
    dependencies=[Depends(refuse_head)],
)
async def start_sign_in(_user: Anyone, request: Request, state: State, return_to: ReturnTo = HOME) -> Response:
    """If the provider does not answer, the browser is redirected to the page, which shows the error."""
    require_enabled(state)
    try:
        started = await _start(state, None)
    except RequestRejected as rejected:
        return _redirect(with_result(return_to, rejected.code))
    response = _redirect(started.url)
    PendingSignIn(sealed_state=started.sealed_state, page=return_to).store(response, request, state.settings)
    return response


@sign_in.get(
    "/oidc/callback",
    include_in_schema=False,  # only the provider's redirects lead there
    dependencies=[Depends(refuse_head)],
)
async def finish_sign_in(
    _user: Anyone,
    request: Request,
    app_state: State,
    state: ProviderState = "",
    code: Code = "",
    error: ProviderError = "",
    issuer: Issuer = None,
) -> Response:
    """Set the session cookie and redirect to the page. An error is a code in its query: `sign_in=OIDC_DENIED`."""
    require_enabled(app_state)
    settings = app_state.settings
    pending = PendingSignIn.read(request, settings)
    page = pending.page if pending else HOME
    try:
        if pending is None:
            raise RequestRejected("OIDC_STATE_INVALID")
        command = FinishOidcSignIn(
            sealed_state=pending.sealed_state, state=state, code=code, error=error, issuer=issuer
        )
        answer = await app_state.bus.send(command, timeout=TIMEOUT_SECONDS)
    except RequestRejected as rejected:
        response = _redirect(with_result(page, rejected.code))
    else:
        signed_in = OidcSignIn.model_validate_json(answer)
        response = _redirect(with_result(page, SUCCESS if signed_in.access_token else LINKED))
        if signed_in.access_token:
            set_session(response, request, settings, signed_in.access_token, signed_in.expires_in)
    delete_sign_in(response, request, settings)
    return response


@own.post(
    "",
    response_model=ProviderPage,
    summary="Begin to link the own user to an account at the OpenID provider: the browser continues at `url`.",
    responses=errors(*READ_ERRORS, *COOKIES, *WRITES, "PASSWORD_WRONG", "OIDC_DISABLED", "OIDC_PROVIDER_UNAVAILABLE"),
)
async def start_link(body: PasswordBody, user: Owner, ip_address: ClientIp, request: Request, bus: Bus) -> Response:
    require_enabled(bus.state)
    await check_password(bus.state, user, body.current_password, ip_address)
    started = await _start(bus.state, user.id)
    page = ProviderPage(url=started.url)
    response = Response(page.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})
    PendingSignIn(sealed_state=started.sealed_state, page=PROFILE).store(response, request, bus.state.settings)
    return response


GET_LINK = "Get the account at the OpenID provider with which the user can sign in."
forward(own, "GET", "", GetIdentityLink, summary=GET_LINK, response=IDENTITY_LINK, **own_user("USER_READ"))
forward(admins, "GET", "/{user_id:id}/identity", GetIdentityLink, AdminReader, GET_LINK, response=IDENTITY_LINK)
forward(
    admins,
    "PUT",
    "/{user_id:id}/identity",
    LinkIdentity,
    AdminWriter,
    "Link the user to an account at the OpenID provider, or remove the link. If this ends a former link, all sessions "
    "and personal tokens of the user become invalid.",
    body=IDENTITY,
    status_code=204,
    errors=LINK_ERRORS,
)


def require_enabled(state: AppState) -> None:
    if not state.settings.oidc.issuer:
        raise RequestRejected("OIDC_DISABLED")


async def _start(state: AppState, user_id: int | None) -> OidcRequest:
    command = StartOidcSignIn(redirect_uri=state.settings.url + CALLBACK, user_id=user_id)
    return OidcRequest.model_validate_json(await state.bus.send(command, timeout=TIMEOUT_SECONDS))


def _redirect(url: str) -> Response:
    return RedirectResponse(url, 303, headers={"Cache-Control": "no-store"})
