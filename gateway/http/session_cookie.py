"""The session cookie of pages of this server. It contains a login token, which scripts of a page cannot read.

A browser sends the cookie also with requests that another origin of the same site initiates, such as another port of
this host. Therefore, a request with the cookie that is not GET or HEAD must come from a page of this server.
"""

from fastapi import Request
from starlette.responses import Response

from contracts.errors import RequestRejected
from gateway.auth import PERSONAL_TOKEN, read_token
from libs.settings import Settings

SECURE_COOKIE = "__Host-headrace"  # browsers accept this prefix only over TLS, for the whole host and no other
PLAIN_COOKIE = "headrace"
SAFE_METHODS = frozenset({"GET", "HEAD"})


def read_request_token(request: Request, settings: Settings) -> str:
    """Return the token of the Authorization header, else of the session cookie.

    Raises UNAUTHORIZED, SESSION_CROSS_SITE, or TOKEN_INVALID for a personal token in the cookie.
    """
    headers = dict(request.scope["headers"])
    if b"authorization" in headers:
        return read_token(headers)
    token = read_session(request, settings)
    if token and request.method not in SAFE_METHODS:
        require_same_origin(request)
    return token or read_token(headers)


def read_session(request: Request, settings: Settings) -> str:
    """Return the login token in the session cookie, or an empty string. Raises TOKEN_INVALID for a personal token."""
    if "cookie" not in request.headers:
        return ""
    token = request.cookies.get(_cookie_name(request, settings), "")
    if PERSONAL_TOKEN.fullmatch(token):
        raise RequestRejected("TOKEN_INVALID", "Personal access tokens cannot be used as a session.")
    return token


def require_same_origin(request: Request) -> None:
    """Check that a page of this server has sent the request. Raises SESSION_CROSS_SITE.

    Browsers send Sec-Fetch-Site over TLS and to localhost. On other hosts without TLS, Origin must be this server.
    """
    site = request.headers.get("sec-fetch-site")
    if site is None:
        origin, host = request.headers.get("origin", ""), request.headers.get("host", "")
        is_same_origin = bool(host) and origin.partition("://")[2] == host
    else:
        is_same_origin = site == "same-origin"
    if not is_same_origin:
        raise RequestRejected("SESSION_CROSS_SITE")


def set_session(response: Response, request: Request, settings: Settings, token: str, max_age: int) -> None:
    """Set the session cookie. `max_age`: in seconds; 0 deletes the cookie."""
    response.set_cookie(
        _cookie_name(request, settings),
        token,
        max_age=max_age,
        path="/",
        secure=is_secure(request, settings),
        httponly=True,
        samesite="strict",
    )


def _cookie_name(request: Request, settings: Settings) -> str:
    return SECURE_COOKIE if is_secure(request, settings) else PLAIN_COOKIE


def is_secure(request: Request, settings: Settings) -> bool:
    """Return whether browsers reach this server over TLS, here or at a proxy."""
    return request.scope["scheme"] == "https" or settings.url.startswith("https://")
