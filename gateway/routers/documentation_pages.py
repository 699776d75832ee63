"""The pages that show the OpenAPI and AsyncAPI documents. Their scripts are served from installed packages."""

import hashlib
import re
from base64 import b64encode

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from gateway.openapi import load_contract

INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
MESSAGE_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Headrace messages</title>
<script defer src="/api/events/docs/files/asyncapi-viewer.iife.js"></script>
<asyncapi-viewer src="/api/asyncapi.json" sidebar show-operations="byOperationsTags"></asyncapi-viewer>
</html>
"""


def add_documentation_pages(app: FastAPI) -> None:
    app.add_route("/api/docs", _get_api_page, include_in_schema=False)
    app.mount("/api/docs/files", StaticFiles(packages=[("fastapi_offline", "static")]))
    app.add_route("/api/asyncapi.json", _get_asyncapi, include_in_schema=False)
    app.add_route("/api/events/docs", _get_message_page, include_in_schema=False)
    app.mount("/api/events/docs/files", StaticFiles(packages=[("asyncapi_viewer", "static")]))


async def _get_api_page(_request: Request) -> Response:
    page = get_swagger_ui_html(
        openapi_url="/api/openapi.json",
        title="Headrace API",
        swagger_js_url="/api/docs/files/swagger-ui-bundle.js",
        swagger_css_url="/api/docs/files/swagger-ui.css",
        swagger_favicon_url="/api/docs/files/favicon.png",
    )
    return _protect(page)


async def _get_message_page(_request: Request) -> Response:
    return _protect(HTMLResponse(MESSAGE_PAGE))


async def _get_asyncapi(_request: Request) -> Response:
    return JSONResponse(load_contract("asyncapi.json"))


def _protect(page: HTMLResponse) -> HTMLResponse:
    """Add a policy that allows only the page's own scripts and requests to this server."""
    scripts = (hashlib.sha256(text.encode()).digest() for text in INLINE_SCRIPT.findall(bytes(page.body).decode()))
    hashes = "".join(f" 'sha256-{b64encode(digest).decode()}'" for digest in scripts)
    page.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page
