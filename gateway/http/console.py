"""The web console below `/ui/`: files that `make setup` builds from `web/` into `gateway/console/`."""

from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from gateway.http.static_site import CacheableFiles

CONSOLE_PATH = "/ui"
BUILT_CONSOLE = Path(__file__).parents[1] / "console"
ENCODINGS = {"br": ".br", "gzip": ".gz"}  # precompressed variants of a file, best first
LICENSES = "licenses.md"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Cross-Origin-Opener-Policy": "same-origin"}
NOT_BUILT_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Headrace</title>
<h1>The web console is not built</h1>
<p>The API works without it: see <a href="/api/docs">its documentation</a>.</p>
<p>To build the console, run <code>make setup</code> in the source folder of Headrace. It needs access to the npm
registry. Then reload this page; no service has to be restarted.</p>
</html>
"""


class Console:
    """ASGI application of the console. Paths other than assets and licenses serve index.html, which has the router."""

    def __init__(self, directory: Path = BUILT_CONSOLE) -> None:
        self._files = CacheableFiles(directory=directory, check_dir=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._response(scope)
        response.headers.update(HEADERS)
        await response(scope, receive, send)

    async def _response(self, scope: Scope) -> Response:
        path = scope["path"].removeprefix(CONSOLE_PATH)
        if scope["method"] != "GET":
            raise HTTPException(405)
        if not path:
            return RedirectResponse(f"{CONSOLE_PATH}/")
        if path.startswith("/assets/"):
            return await self._file(path[1:], scope)
        if path == "/licenses":
            response = await self._file(LICENSES, scope)
            response.headers["Content-Type"] = "text/plain; charset=utf-8"
            return response
        try:
            return await self._file("index.html", scope)
        except HTTPException:
            return HTMLResponse(NOT_BUILT_PAGE, 503, headers={"Cache-Control": "no-store"})

    async def _file(self, path: str, scope: Scope) -> Response:
        """Return the file, compressed if the client accepts it. Raises HTTPException if it does not exist."""
        accepted = _accepted_encodings(scope)
        for encoding, suffix in ENCODINGS.items():
            if encoding in accepted and await run_in_threadpool(self._is_file, path + suffix):
                response = await self._get(path + suffix, scope)
                response.headers["Content-Encoding"] = encoding
                break
        else:
            response = await self._get(path, scope)
        response.headers["Vary"] = "Accept-Encoding"
        return response

    async def _get(self, path: str, scope: Scope) -> Response:
        try:
            return await self._files.get_response(path, scope)
        except HTTPException:  # StaticFiles raises 404, and 401 for unreadable files
            raise HTTPException(404) from None

    def _is_file(self, path: str) -> bool:
        return self._files.lookup_path(path)[1] is not None


def _accepted_encodings(scope: Scope) -> set[str]:
    header = ",".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"accept-encoding")
    encodings = (part.partition(";") for part in header.lower().split(","))
    return {name.strip() for name, _, weight in encodings if weight.replace(" ", "") not in ("q=0", "q=0.0")}
