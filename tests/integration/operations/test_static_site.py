"""Static files served beside the API, and CORS for pages of other origins."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from gateway.http.static_site import StaticSite
from libs.settings import Settings, SettingsError
from tests.support.in_process.gateway_stage import running_gateway
from tests.support.infrastructure.servers import running_nats

SCREEN_NAMES = ("project", "developer", "secret", "credential", "executor", "statistic", "config")
SCRIPT = "main.0a1b2c3d.js"


@pytest.fixture(scope="module")
async def urls(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[str, str]]:
    above = tmp_path_factory.mktemp("above")
    (above / "hidden.txt").write_text("canary")
    folder = above / "page"
    (folder / "static" / "js").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("canary")
    (folder / "developer").mkdir()
    (folder / "developer" / "projects").write_text("canary")
    (folder / "guest").mkdir()
    (folder / "guest" / "ping").write_text("canary")
    (folder / "index.html").write_text("<html>the page</html>")
    (folder / "favicon.ico").write_bytes(b"icon")
    (folder / "static" / "js" / SCRIPT).write_text("let a;")
    (folder / "static" / "link").symlink_to(above / "hidden.txt")
    with running_nats(above / "bus") as server:
        with_folder = Settings(nats_url=server.program.url, static=folder)
        without = Settings(nats_url=server.program.url)
        async with (
            running_gateway(with_folder) as (_one, _server, first),
            running_gateway(without) as (_other, _its_server, second),
        ):
            yield first, second


@pytest.fixture
async def http(urls: tuple[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=urls[0]) as client:
        yield client


@pytest.fixture
async def http_without_folder(urls: tuple[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=urls[1]) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/index.html", *(f"/free-commit/{screen}" for screen in SCREEN_NAMES)])
async def test_every_screen_path_serves_the_single_page_application(http: httpx.AsyncClient, path: str) -> None:
    response = await http.get(path)
    assert (response.status_code, response.text) == (200, "<html>the page</html>")
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-cache"
    again = await http.get(path, headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_a_fingerprinted_file_is_cached_as_immutable(http: httpx.AsyncClient) -> None:
    response = await http.get(f"/static/js/{SCRIPT}")
    assert (response.text, response.headers["Cache-Control"]) == ("let a;", "public, max-age=31536000, immutable")
    assert "javascript" in response.headers["Content-Type"]
    head = await http.head(f"/static/js/{SCRIPT}")
    assert (head.status_code, head.content, head.headers["ETag"]) == (200, b"", response.headers["ETag"])


async def test_env_js_tells_the_page_that_the_api_has_the_same_origin(
    http: httpx.AsyncClient, urls: tuple[str, str]
) -> None:
    response = await http.get("/env.js")
    assert response.text == 'window.globalConfig = {"REACT_APP_API_URL": ""};\n'
    assert "javascript" in response.headers["Content-Type"]


@pytest.fixture
def write_env_js(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[bytes], int]]:
    path = next(tmp_path_factory.getbasetemp().glob("above*/page")) / "env.js"
    yield path.write_bytes
    path.unlink()


@pytest.mark.parametrize(
    "text",
    [
        'window.globalConfig = {"REACT_APP_API_URL": "https://ci.example.org"};\n',
        "window.globalConfig = {\n    REACT_APP_API_URL: 'https://ci.example.org',\n};",
        "window.globalConfig = {};\nwindow.globalConfig['REACT_APP_API_URL'] = 'https://ci.example.org';",
        "window.globalConfig = {REACT_APP_API_URL:``, THEME: 'dark'};",
    ],
)
async def test_an_api_url_in_the_env_js_of_the_folder_is_served_unchanged(
    http: httpx.AsyncClient, write_env_js: Callable[[bytes], int], text: str
) -> None:
    write_env_js(text.encode())
    assert (await http.get("/env.js")).text == text


@pytest.mark.parametrize(
    "content",
    [
        b"window.globalConfig = {};\n",  # content of env.js in the web page's default build
        b"",
        b"window.globalConfig = {REACT_APP_API_URL: undefined};",
        b'// window.globalConfig = {"REACT_APP_API_URL": "https://ci.example.org"};\nwindow.globalConfig = {};',
        b'window.globalConfig = {/* REACT_APP_API_URL: "https://ci.example.org" */};',
        b"\xff\xfe",
    ],
)
async def test_env_js_without_an_api_url_is_replaced_by_the_same_origin(
    http: httpx.AsyncClient, write_env_js: Callable[[bytes], int], content: bytes
) -> None:
    write_env_js(content)
    response = await http.get("/env.js")
    assert (response.status_code, response.text) == (200, 'window.globalConfig = {"REACT_APP_API_URL": ""};\n')
    assert "javascript" in response.headers["Content-Type"]
    assert response.headers["Cache-Control"] == "no-cache"
    head = await http.head("/env.js")
    assert (head.content, head.headers["Content-Length"]) == (b"", response.headers["Content-Length"])


@pytest.mark.parametrize(
    "path",
    [
        "/../hidden.txt",
        "/static/../../hidden.txt",
        "/%2e%2e/hidden.txt",
        "/..%2fhidden.txt",
        "/static/..%2f..%2fhidden.txt",
        "//etc/hostname",
        "/%2fetc/hostname",
        "/static/link",
        "/.git/config",
        "/static/%00",
        "/static/" + "a" * 300,
        "/static",
        "/static/js/none.js",
        "/free-commit/project/1",
        "/free-commit/../../hidden.txt",
        "/api/index.html",
        "/api-free-commit/env.js",
        "/rest-api/",
        "/-/index.html",
        "/api",
    ],
)
async def test_paths_outside_the_static_folder_are_404(http: httpx.AsyncClient, path: str) -> None:
    request = http.build_request("GET", "/")
    request.url = request.url.copy_with(raw_path=path.encode())
    response = await http.send(request)
    assert (response.status_code, response.json()["message"]) == (404, "NOT_FOUND")


async def test_api_routes_take_precedence_over_static_files(http: httpx.AsyncClient) -> None:
    assert (await http.get("/developer/projects")).status_code == 401
    ping = await http.get("/guest/ping")
    assert (ping.status_code, ping.content) == (200, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_static_files_accept_only_reading_methods(http: httpx.AsyncClient, method: str) -> None:
    assert (await http.request(method, "/index.html")).status_code == 404


async def test_without_a_static_folder_the_root_path_redirects_to_the_console(
    http_without_folder: httpx.AsyncClient,
) -> None:
    console = await http_without_folder.get("/")
    assert (console.status_code, console.headers["Location"]) == (307, "/ui/")
    assert (await http_without_folder.get("/env.js")).status_code == 404
    assert (await http_without_folder.get("/free-commit/project")).status_code == 404


def test_a_missing_static_folder_is_an_error_at_startup(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="HEADRACE_STATIC"):
        StaticSite(tmp_path / "none")


ORIGIN = {"Origin": "https://page.example"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
async def test_a_cors_preflight_is_allowed_for_every_origin(
    http_without_folder: httpx.AsyncClient, method: str
) -> None:
    headers = ORIGIN | {
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "Authorization, Cache-Control, Content-Type, Idempotency-Key, Last-Event-ID",
    }
    response = await http_without_folder.options("/api-free-commit/admin/projects", headers=headers)
    assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (200, "*")
    assert method in response.headers["Access-Control-Allow-Methods"].split(", ")
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("path", ["/api/developer/projects", "/api-free-commit/admin/secrets/1", "/api/v4/runners"])
async def test_options_requests_need_no_token(http_without_folder: httpx.AsyncClient, path: str) -> None:
    response = await http_without_folder.options(path)
    assert response.status_code == 204
    assert "OPTIONS" in response.headers["Allow"]


async def test_error_responses_have_cors_headers(http_without_folder: httpx.AsyncClient) -> None:
    response = await http_without_folder.get("/api/developer/projects", headers=ORIGIN)
    assert response.status_code == 401
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "X-Trace-Id" in response.headers["Access-Control-Expose-Headers"]


async def test_only_pages_of_the_configured_origins_may_read_responses(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running_nats(tmp_path_factory.mktemp("bus")) as server:
        settings = Settings(nats_url=server.program.url, cors_origins=("https://page.example",))
        async with running_gateway(settings) as (_, _, url), httpx.AsyncClient(base_url=url) as http:
            known = await http.get("/api/guest/ping", headers=ORIGIN)
            other = await http.get("/api/guest/ping", headers={"Origin": "https://other.example"})
    assert known.headers["Access-Control-Allow-Origin"] == "https://page.example"
    assert "Access-Control-Allow-Origin" not in other.headers
