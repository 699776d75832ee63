"""The identity service with two replicas, two gateways, and an OpenID provider. A browser is a set of cookies."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from libs.settings import OidcSettings
from services.identity.app import service as identity
from services.projects.app import service as projects
from tests.support.external.openid_provider import OpenIdProvider, running_openid_provider
from tests.support.in_process.gateway_stage import running_gateway
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers

PASSWORD = "millwheel-7"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@dataclass
class Browser:
    """A browser at one gateway. It follows no redirects."""

    http: httpx.AsyncClient
    cookies: dict[str, str] = field(default_factory=dict)

    async def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        response = await self.http.request(method, path, headers={"Cookie": cookie, **SAME_ORIGIN}, **more)
        for header in response.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(header).items():
                self.cookies[name] = morsel.value
                if morsel["max-age"] == "0":
                    del self.cookies[name]
        return response

    async def get_user(self) -> Any:
        response = await self.request("GET", "/api/user/info")
        return response.json() if response.status_code == 200 else response.json()["message"]

    async def sign_in_with_password(self, username: str) -> None:
        body = {"auth": {"username": username, "password": PASSWORD}}
        assert (await self.request("POST", "/api/auth/session", json=body)).status_code == 200


@dataclass
class SignInStage:
    stage: ServiceStage
    provider: OpenIdProvider
    first: httpx.AsyncClient
    second: httpx.AsyncClient  # another gateway, which accepts no passwords in the console
    admin: dict[str, str] = field(default_factory=dict)

    def browser(self) -> Browser:
        return Browser(self.first)

    async def begin(self, browser: Browser, page: str = "/ui/") -> str:
        """Begin a sign-in. Return the URL at the provider."""
        response = await browser.request("GET", "/api/auth/oidc/login", params={"return_to": page})
        assert response.status_code == 303
        return response.headers["Location"]

    async def finish(self, browser: Browser, answer: dict[str, str]) -> str:
        """Pass the provider's answer to another gateway. Return the page to which it redirects."""
        response = await Browser(self.second, browser.cookies).request("GET", "/api/auth/oidc/callback", params=answer)
        assert response.status_code == 303, response.text
        return response.headers["Location"]

    async def sign_in(self, subject: str, browser: Browser | None = None) -> tuple[Browser, str]:
        """Sign in with an account at the provider. Return the browser and the result."""
        browser = browser or self.browser()
        answer = await self.provider.authorize(await self.begin(browser), subject)
        return browser, result_of(await self.finish(browser, answer))

    async def change_user(self, method: str, user_id: int, path: str = "", body: Any = None) -> httpx.Response:
        url = f"/api/admin/developers/{user_id}{path}"
        response = await self.first.request(method, url, json=body, headers=self.admin)
        assert response.is_success or response.status_code == 422, response.text
        return response

    async def create_user(self, username: str, *roles: str) -> int:
        body = {"developer": {"username": username, "password": PASSWORD, "roles": roles}}
        response = await self.first.post("/api/admin/developers", json=body, headers=self.admin)
        assert response.status_code == 201, response.text
        return int(response.json()["id"])


def result_of(page: str) -> str:
    [result] = parse_qs(urlsplit(page).query)["sign_in"]
    return result


@asynccontextmanager
async def open_sign_in_stage(servers: Servers) -> AsyncIterator[SignInStage]:
    with running_openid_provider() as provider:
        oidc = OidcSettings(
            issuer=provider.issuer,
            client_id="headrace",
            client_secret="of the client",
            name="Example SSO",
            admin_group="admins",
            developer_group="developers",
            create_users=True,
        )
        without_passwords = oidc.model_copy(update={"password_sign_in": False})
        settings: Any = {"oidc": oidc, "url": "http://ci.example", "admin_username": "root", "admin_password": PASSWORD}
        async with empty_stage(servers, **settings) as stage:
            await stage.migrate(identity, projects)
            async with (
                stage.running(lambda: identity, replicas=2),
                stage.running(lambda: projects),
                running_gateway(stage.settings) as (_, _, first_url),
                running_gateway(stage.settings.model_copy(update={"oidc": without_passwords})) as (_, _, second_url),
                httpx.AsyncClient(base_url=first_url, timeout=30) as first,
                httpx.AsyncClient(base_url=second_url, timeout=30) as second,
            ):
                found = SignInStage(stage, provider, first, second)
                body = {"auth": {"username": "root", "password": PASSWORD}}
                token = (await first.post("/api/auth/token", json=body)).json()["access_token"]
                found.admin = {"Authorization": f"Bearer {token}"}
                yield found
