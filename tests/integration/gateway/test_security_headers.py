"""Headers that protect browsers: on every response, and content security policies on pages."""

import re
from collections.abc import AsyncIterator

import pytest

from gateway.http.server import security_headers
from libs.settings import Settings
from tests.support.in_process.gateway_stage import GatewayStage, open_gateway_stage
from tests.support.infrastructure.servers import running_nats


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayStage]:
    with running_nats(tmp_path_factory.mktemp("bus")) as server:
        async with open_gateway_stage(server.program.url) as running:
            yield running


@pytest.mark.parametrize("path", ["/api/guest/ping", "/api/user/info", "/no-such-path", "/healthz", "/api/docs"])
async def test_every_response_has_the_headers_once(stage: GatewayStage, path: str) -> None:
    headers = (await stage.http.get(path)).headers
    assert headers.get_list("X-Content-Type-Options") == ["nosniff"]
    assert headers.get_list("X-Frame-Options") == ["SAMEORIGIN"]
    assert headers.get_list("Referrer-Policy") == ["same-origin"]
    assert "Strict-Transport-Security" not in headers


def test_https_is_kept_for_later_requests() -> None:
    headers = dict(security_headers(Settings(url="https://ci.example")))
    assert headers["Strict-Transport-Security"] == "max-age=31536000"


@pytest.mark.parametrize("path", ["/api/docs", "/api/events/docs", "/ui/"])
async def test_pages_allow_only_their_own_scripts(stage: GatewayStage, path: str) -> None:
    response = await stage.http.get(path)
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    inline_scripts = re.findall(r"<script>", response.text)
    assert len(re.findall("'sha256-", policy)) == len(inline_scripts)
    assert "unsafe-inline" not in policy.partition("style-src")[0]
