"""The HTTP API: all routers in one FastAPI application, without connections and middleware."""

import re
from collections.abc import Collection
from functools import partial

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from gateway.errors import register_exception_handlers
from gateway.http.path_prefixes import CompatibleApi
from gateway.openapi import load_contract, load_document
from gateway.routers import ROUTERS

MESSAGE_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Headrace messages</title>
<script defer src="/api/events/docs/files/asyncapi-viewer.iife.js"></script>
<asyncapi-viewer src="/api/asyncapi.json" sidebar show-operations="byOperationsTags"></asyncapi-viewer>
</html>
"""


def create_api(apis: Collection[CompatibleApi] = tuple(CompatibleApi)) -> FastAPI:
    """Return the application with Headrace's own routes and those of the compatible APIs `apis`."""
    app = FastAPIOffline(
        title="Headrace",
        version="1",
        openapi_url="/api/openapi.json",
        docs_url="/api/docs",
        redoc_url=None,
        static_url="/api/docs/files",
        swagger_ui_oauth2_redirect_url="/api/docs/oauth2-redirect",
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
        # FastAPI's own telemetry is off: ObservabilityMiddleware records requests, by route
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    for router in ROUTERS:
        if router.api is None or router.api in apis:
            app.include_router(router)
    app.add_route("/api/asyncapi.json", _get_asyncapi, include_in_schema=False)
    app.add_route("/api/events/docs", _get_message_page, include_in_schema=False)
    app.mount("/api/events/docs/files", StaticFiles(packages=[("asyncapi_viewer", "static")]))
    register_exception_handlers(app)
    setattr(app, "openapi", partial(load_document, app))  # noqa: B010  FastAPI's way to replace the document
    return app


async def _get_asyncapi(_request: Request) -> Response:
    return JSONResponse(load_contract("asyncapi.json"))


async def _get_message_page(_request: Request) -> Response:
    return HTMLResponse(MESSAGE_PAGE)


def _operation_id(route: APIRoute) -> str:
    """Return an id like `get_developer_builds_queueds`."""
    [method] = route.methods or [""]
    path = re.sub(r":\w+}", "}", route.path.removeprefix("/api"))
    return method.lower() + re.sub(r"\W+", "_", path).rstrip("_")
