"""The cookie of a sign-in, and the pages to which the browser returns."""

from base64 import urlsafe_b64encode
from http.cookies import SimpleCookie

import pytest
from fastapi import Request
from starlette.responses import Response

from gateway.http.sign_in_cookie import PendingSignIn, is_console_page, with_result
from libs.settings import Settings

PENDING = PendingSignIn(sealed_state="s1.c2VhbGVk==", page="/ui/builds/17?tab=log#L3")
HTTP, HTTPS = Settings(url="http://ci.example"), Settings(url="https://ci.example")


def request_with(cookie: str = "") -> Request:
    headers = [(b"cookie", cookie.encode())] if cookie else []
    return Request({"type": "http", "scheme": "http", "method": "GET", "path": "/", "headers": headers})


@pytest.mark.parametrize(
    "page", ["/ui", "/ui/", "/ui/builds/17", "/ui/builds/17?tab=log&q=a%20b#L3-4", "/ui/history/user/7/"]
)
def test_pages_of_the_console_are_accepted(page: str) -> None:
    assert is_console_page(page)


@pytest.mark.parametrize(
    "page",
    [
        "",
        "/",
        "/uix",
        "//evil.example/ui/",
        "https://evil.example/ui/",
        "/ui//evil.example",
        "/ui/../api/auth/oidc/login",
        "/ui/%2e%2e/api/auth/oidc/login",
        "/ui/.%2e/x",
        "/ui/\\evil.example",
        "/ui/\r\nSet-Cookie: a=b",
        "/ui/ ",
        "/ui/\n",
        "/ui/" + "a" * 1000,
    ],
)
def test_other_paths_are_refused(page: str) -> None:
    assert not is_console_page(page)


@pytest.mark.parametrize("settings", [HTTP, HTTPS])
def test_the_cookie_contains_the_sign_in_and_is_sent_on_the_way_back_from_the_provider(settings: Settings) -> None:
    response = Response()
    PENDING.store(response, request_with(), settings)
    ((name, cookie),) = SimpleCookie(response.headers["Set-Cookie"]).items()
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "lax", "/")
    assert (name.startswith("__Host-"), cookie["secure"]) == ((settings is HTTPS), "" if settings is HTTP else True)
    assert PendingSignIn.read(request_with(f"{name}={cookie.value}"), settings) == PENDING


def test_the_longest_page_fits_into_a_cookie() -> None:
    response = Response()
    longest = "/ui/" + "a" * 996
    PENDING.model_copy(update={"sealed_state": "s" * 1000, "page": longest}).store(response, request_with(), HTTPS)
    assert len(response.headers["Set-Cookie"]) < 4096


@pytest.mark.parametrize(
    "value",
    [
        "",
        "!",
        "żółw".encode().decode("latin-1"),
        urlsafe_b64encode(b"[]").decode(),
        urlsafe_b64encode(b'{"sealed_state": "%s", "page": "/ui/"}' % (b"x" * 5000)).decode(),
        urlsafe_b64encode(b'{"sealed_state": "x", "page": "https://evil.example/"}').decode(),
    ],
)
def test_other_cookies_are_no_sign_in(value: str) -> None:
    assert PendingSignIn.read(request_with(f"headrace-sign-in={value}" if value else ""), HTTP) is None


def test_the_result_is_added_to_the_query() -> None:
    assert with_result("/ui/", "ok") == "/ui/?sign_in=ok"
    assert with_result("/ui/builds/17?tab=log#L3", "OIDC_DENIED") == "/ui/builds/17?tab=log&sign_in=OIDC_DENIED#L3"
