"""The cookie of a sign-in with the OpenID provider, until the provider's response: the sealed state and a page.

It is sent with the navigation from the provider back to this server, so unlike the session cookie it is `SameSite=Lax`.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Self
from urllib.parse import urlencode, urlsplit, urlunsplit

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

from contracts.identity import MAX_STATE_LENGTH
from gateway.http.session_cookie import is_secure
from libs.settings import Settings

SECURE_COOKIE = "__Host-headrace-sign-in"
PLAIN_COOKIE = "headrace-sign-in"
MAX_AGE_SECONDS = 600
MAX_PAGE_LENGTH = 1000
# Segments do not begin with a dot or an encoded character: browsers resolve `..` and `%2e%2e`, also to other paths.
PAGE_PATTERN = re.compile(
    r"/ui(/[A-Za-z0-9_~-][A-Za-z0-9_.~:@!$&'()*+,;=%-]*)*/?"
    r"(\?[A-Za-z0-9_.~:@!$&'()*+,;=%/?-]*)?(#[A-Za-z0-9_.~:@!$&'()*+,;=%/?-]*)?"
)
RESULT_PARAMETER = "sign_in"  # query parameter with the result, which the console reads


class PendingSignIn(BaseModel):
    """A sign-in that the provider has not answered yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sealed_state: str = Field(repr=False, max_length=MAX_STATE_LENGTH)
    page: str  # path of the console's page to which the browser returns

    @classmethod
    def read(cls, request: Request, settings: Settings) -> Self | None:
        """Return the content of the cookie, or None if it is missing or malformed."""
        encoded = request.cookies.get(_cookie_name(request, settings), "")
        try:
            found = cls.model_validate_json(urlsafe_b64decode(encoded.encode() + b"=" * (-len(encoded) % 4)))
        except (ValueError, ValidationError):
            return None
        return found if is_console_page(found.page) else None

    def store(self, response: Response, request: Request, settings: Settings) -> None:
        value = urlsafe_b64encode(self.model_dump_json().encode()).decode().rstrip("=")
        _set_cookie(response, request, settings, value, MAX_AGE_SECONDS)


def delete_sign_in(response: Response, request: Request, settings: Settings) -> None:
    _set_cookie(response, request, settings, "", 0)


def is_console_page(page: str) -> bool:
    """Return whether this is the path of a page of the console, to which a redirect cannot do harm."""
    return len(page) <= MAX_PAGE_LENGTH and PAGE_PATTERN.fullmatch(page) is not None


def with_result(page: str, result: str) -> str:
    """Return the path of the page with the result of the sign-in in its query."""
    parts = urlsplit(page)
    query = "&".join(filter(None, (parts.query, urlencode({RESULT_PARAMETER: result}))))
    return urlunsplit(("", "", parts.path, query, parts.fragment))


def _set_cookie(response: Response, request: Request, settings: Settings, value: str, max_age: int) -> None:
    response.set_cookie(
        _cookie_name(request, settings),
        value,
        max_age=max_age,
        path="/",
        secure=is_secure(request, settings),
        httponly=True,
        samesite="lax",
    )


def _cookie_name(request: Request, settings: Settings) -> str:
    return SECURE_COOKIE if is_secure(request, settings) else PLAIN_COOKIE
