"""An OpenID provider on a loopback port (oidc-provider-mock), and a browser that signs in there."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from tests.support.waiting import WITHIN_SECONDS

with warnings.catch_warnings(record=True):  # importing the provider's dependencies causes deprecation warnings
    from oidc_provider_mock import run_server_in_thread


@dataclass(frozen=True)
class OpenIdProvider:
    issuer: str

    def set_account(self, subject: str, **claims: Any) -> None:
        url = f"{self.issuer}/users/{subject}"
        httpx.put(url, json=claims, timeout=WITHIN_SECONDS).raise_for_status()

    async def authorize(self, url: str, subject: str) -> dict[str, str]:
        """Sign in as this account at the page `url`. Return the parameters of the redirect."""
        return await self._answer(url, {"sub": subject})

    async def deny(self, url: str) -> dict[str, str]:
        return await self._answer(url, {"action": "deny"})

    async def _answer(self, url: str, form: Mapping[str, str]) -> dict[str, str]:
        assert url.startswith(f"{self.issuer}/")
        async with httpx.AsyncClient(timeout=WITHIN_SECONDS) as browser:
            response = await browser.post(url, data=form)
        assert response.status_code == 302, response.text
        return dict(parse_qsl(urlsplit(response.headers["Location"]).query))


@contextmanager
def running_openid_provider(port: int = 0, token_max_age: timedelta = timedelta(hours=1)) -> Iterator[OpenIdProvider]:
    with run_server_in_thread(port, access_token_max_age=token_max_age) as server:
        yield OpenIdProvider(f"http://localhost:{server.server_port}")
