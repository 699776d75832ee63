"""A folder of static files beside the API: the page of an existing client, served from the same address."""

import re
from os import PathLike, stat_result
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from gateway.http.path_prefixes import CLIENT_PREFIXES, OWN_PREFIXES
from libs.settings import SettingsError

SPA_ROUTES = re.compile(r"/(?:free-commit/[a-z]+/?)?")
"""What the client's page shows by itself: all of these are its index."""
FINGERPRINTED = re.compile(r"[.-][0-9a-f]{8,}\.")
"""A name that changes with the content."""
JS_COMMENT = re.compile(r"/\*.*?\*/|^\s*//[^\n]*", re.DOTALL | re.MULTILINE)
API_URL_SETTING = re.compile(r"""REACT_APP_API_URL["']?\]?\s*[:=]\s*(?!undefined\b|null\b)\S""")
"""A setting with a value; the empty text is one: it means the page's own origin."""
MAX_ENV_JS_BYTES = 64 * 1024  # bytes
SAME_ORIGIN_ENV_JS = 'window.globalConfig = {"REACT_APP_API_URL": ""};\n'
WELCOME_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Headrace</title>'
    '<h1>Headrace</h1><p>A build server. <a href="/api/docs">Its API</a></p></html>'
)


class CacheableFiles(StaticFiles):
    """Files are asked for again each time, unless their name says what is in them."""

    def file_response(
        self, full_path: PathLike[str] | str, stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        lasting = FINGERPRINTED.search(Path(full_path).name)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if lasting else "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


class StaticSite:
    """What answers where no route does; without a folder there is only a page that leads to the API's."""

    def __init__(self, path: Path | None) -> None:
        if path and not path.is_dir():
            raise SettingsError(f"HEADRACE_STATIC must be a folder, and {path} is none.")
        self._files = CacheableFiles(directory=path) if path else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._response(scope)
        await response(scope, receive, send)

    async def _response(self, scope: Scope) -> Response:
        path: str = scope["asked_path"]  # the other one has its prefix
        if scope["method"] not in ("GET", "HEAD") or path.startswith((*CLIENT_PREFIXES, *OWN_PREFIXES)):
            raise HTTPException(404)
        if self._files is None:
            if path != "/":
                raise HTTPException(404)
            return HTMLResponse(WELCOME_PAGE)
        wanted = "index.html" if SPA_ROUTES.fullmatch(path) else path[1:]
        if any(part.startswith(".") for part in wanted.split("/")):
            raise HTTPException(404)
        if wanted == "env.js" and not await run_in_threadpool(self._sets_api_url):
            return Response(SAME_ORIGIN_ENV_JS, media_type="text/javascript", headers={"Cache-Control": "no-cache"})
        try:
            return await self._files.get_response(wanted, scope)
        except HTTPException:  # also for a file that may not be read
            raise HTTPException(404) from None

    def _sets_api_url(self) -> bool:
        """Whether the folder has an env.js that sets the API's address. The page's build has one that sets nothing."""
        path, found = self._files.lookup_path("env.js") if self._files else ("", None)
        if found is None:
            return False
        try:
            with Path(path).open("rb") as file:
                content = file.read(MAX_ENV_JS_BYTES)
        except OSError:
            return False
        return bool(API_URL_SETTING.search(JS_COMMENT.sub("", content.decode(errors="replace"))))
