"""The HTTP API: all routers in one FastAPI application, without connections and middleware."""

import re
from collections.abc import Collection
from functools import partial

from fastapi import FastAPI
from fastapi.routing import APIRoute

from gateway.errors import register_exception_handlers
from gateway.http.path_prefixes import CompatibleApi
from gateway.openapi import load_document
from gateway.routers import ROUTERS
from gateway.routers.documentation_pages import add_documentation_pages


def create_api(apis: Collection[CompatibleApi] = tuple(CompatibleApi)) -> FastAPI:
    """Return the application with Headrace's own routes and the routes of the compatible APIs `apis`."""
    app = FastAPI(
        title="Headrace",
        version="1",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
        # FastAPI's own telemetry is off: ObservabilityMiddleware records requests, by route
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    for router in ROUTERS:
        if router.api is None or router.api in apis:
            app.include_router(router)
    add_documentation_pages(app)
    register_exception_handlers(app)
    setattr(app, "openapi", partial(load_document, app))  # noqa: B010  FastAPI's way to replace the document
    return app


def _operation_id(route: APIRoute) -> str:
    """Return an id like `get_developer_builds_queueds`."""
    [method] = route.methods or [""]
    path = re.sub(r":\w+}", "}", route.path.removeprefix("/api"))
    return method.lower() + re.sub(r"\W+", "_", path).rstrip("_")
