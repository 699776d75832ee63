"""Static files of a web page, which the gateway serves beside the API."""

import re
from os import PathLike, stat_result
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from gateway.http.path_prefixes import CLIENT_PREFIXES, OWN_PREFIXES
from libs.settings import SettingsError

SPA_ROUTES = re.compile(r"/(?:free-commit/[a-z]+/?)?")
"""Paths that the single-page application routes itself; all of them serve index.html."""
FINGERPRINTED = re.compile(r"[.-][0-9a-f]{8,}\.")
"""A file name with a content hash, cacheable without revalidation."""
JS_COMMENT = re.compile(r"/\*.*?\*/|^\s*//[^\n]*", re.DOTALL | re.MULTILINE)
API_URL_SETTING = re.compile(r"""REACT_APP_API_URL["']?\]?\s*[:=]\s*(?!undefined\b|null\b)\S""")
"""Matches a line that sets the API's URL. An empty URL counts as set: it means the page's own origin."""
MAX_ENV_JS_BYTES = 64 * 1024
SAME_ORIGIN_ENV_JS = 'window.globalConfig = {"REACT_APP_API_URL": ""};\n'


class CacheableFiles(StaticFiles):
    """Static files with cache headers: revalidated at every use, unless their name has a content hash."""

    def file_response(
        self, full_path: PathLike[str] | str, stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        is_fingerprinted = FINGERPRINTED.search(Path(full_path).name)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if is_fingerprinted else "no-cache"
        return response


class StaticSite:
    """Serves paths without a route: files of HEADRACE_STATIC. If it is not set, `/` redirects to the console."""

    def __init__(self, path: Path | None) -> None:
        if path and not path.is_dir():
            raise SettingsError(f"HEADRACE_STATIC must be a directory; {path} is not.")
        self._files = CacheableFiles(directory=path) if path else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._response(scope)
        await response(scope, receive, send)

    async def _response(self, scope: Scope) -> Response:
        path: str = scope["requested_path"]  # as the client sent it, whereas `path` has the canonical prefix
        if scope["method"] not in ("GET", "HEAD") or path.startswith((*CLIENT_PREFIXES, *OWN_PREFIXES)):
            raise HTTPException(404)
        if self._files is None:
            if path != "/":
                raise HTTPException(404)
            return RedirectResponse("/ui/")
        file_path = "index.html" if SPA_ROUTES.fullmatch(path) else path[1:]
        if any(part.startswith(".") for part in file_path.split("/")):
            raise HTTPException(404)
        if file_path == "env.js" and not await run_in_threadpool(self._sets_api_url):
            return Response(SAME_ORIGIN_ENV_JS, media_type="text/javascript", headers={"Cache-Control": "no-cache"})
        try:
            return await self._files.get_response(file_path, scope)
        except HTTPException:  # StaticFiles raises 404, and 401 for unreadable files
            raise HTTPException(404) from None

    def _sets_api_url(self) -> bool:
        """Return whether the folder's env.js sets the API's URL. The env.js of the client's default build does not."""
        path, status = self._files.lookup_path("env.js") if self._files else ("", None)
        if status is None:
            return False
        try:
            with Path(path).open("rb") as file:
                content = file.read(MAX_ENV_JS_BYTES)
        except OSError:
            return False
        return bool(API_URL_SETTING.search(JS_COMMENT.sub("", content.decode(errors="replace"))))
