"""Serving of the web console: the page for all its paths, immutable assets, compressed variants, security policy."""

from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from gateway.http.console import CONTENT_SECURITY_POLICY, Console

SCRIPT = "assets/index-0a1b2c3d.js"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("the page")
    (tmp_path / "licenses.md").write_text("# Licenses")
    (tmp_path / SCRIPT).write_text("plain")
    (tmp_path / f"{SCRIPT}.gz").write_bytes(b"as gzip")
    (tmp_path / f"{SCRIPT}.br").write_bytes(b"as brotli")
    return tmp_path


def client(folder: Path) -> httpx.AsyncClient:
    app = Starlette(routes=[Mount("/ui", Console(folder))])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://console")


async def get(folder: Path, path: str, encodings: str = "identity") -> httpx.Response:
    """Return a response with its body as sent, not decompressed."""
    async with client(folder) as http, http.stream("GET", path, headers={"Accept-Encoding": encodings}) as response:
        response._content = b"".join([part async for part in response.aiter_raw()])
        return response


@pytest.mark.parametrize("path", ["/ui/", "/ui/projects", "/ui/builds/17", "/ui/history/project/1", "/ui/a.b"])
async def test_every_path_of_the_console_serves_the_page(folder: Path, path: str) -> None:
    response = await get(folder, path)
    assert (response.status_code, response.text) == (200, "the page")
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY


def test_the_policy_allows_no_inline_script_and_no_html_from_text() -> None:
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in CONTENT_SECURITY_POLICY


@pytest.mark.parametrize(
    ("encodings", "body", "encoding"),
    [
        ("gzip, deflate, br, zstd", "as brotli", "br"),
        ("gzip, br;q=0", "as gzip", "gzip"),
        ("identity", "plain", None),
    ],
)
async def test_an_asset_is_sent_in_the_best_accepted_encoding_and_is_immutable(
    folder: Path, encodings: str, body: str, encoding: str | None
) -> None:
    response = await get(folder, f"/ui/{SCRIPT}", encodings)
    assert (response.content.decode(), response.headers.get("Content-Encoding")) == (body, encoding)
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.headers["Content-Type"].startswith("text/javascript")
    assert response.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize("path", ["/ui/assets/missing-0a1b2c3d.js", "/ui/assets/"])
async def test_a_missing_asset_is_not_answered_with_the_page(folder: Path, path: str) -> None:
    assert (await get(folder, path)).status_code == 404


async def test_licenses_are_plain_text(folder: Path) -> None:
    response = await get(folder, "/ui/licenses")
    assert (response.text, response.headers["Content-Type"]) == ("# Licenses", "text/plain; charset=utf-8")


async def test_a_console_that_is_not_built_says_how_to_build_it(tmp_path: Path) -> None:
    response = await get(tmp_path / "missing", "/ui/projects")
    assert response.status_code == 503
    assert "make setup" in response.text
    assert response.headers["Cache-Control"] == "no-store"


async def test_only_reading_is_allowed(folder: Path) -> None:
    async with client(folder) as http:
        assert (await http.post("/ui/")).status_code == 405
