"""What the API and the events look like, for programs and people: as `make docs` wrote it, read when somebody asks.

To make the documents of the routes anew would cost each gateway a quarter of a second at its start, and 7 MB for ever.
"""

import json
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from gateway.framework.asyncapi_html import event_page
from gateway.framework.openapi_html import docs_page


def written(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(files("contracts").joinpath(name).read_text("utf-8"))
    return document


def descriptions() -> list[Route]:
    answers: dict[str, Callable[[], Response]] = {
        "/api/openapi.json": lambda: JSONResponse(written("openapi.json")),
        "/api/docs": lambda: HTMLResponse(docs_page(written("openapi.json"))),
        "/api/asyncapi.json": lambda: JSONResponse(written("asyncapi.json")),
        "/api/events/docs": lambda: HTMLResponse(event_page(written("asyncapi.json"))),
    }
    return [Route(path, _always(cache(answer))) for path, answer in answers.items()]


def _always(answer: Callable[[], Response]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_request: Request) -> Response:
        return answer()

    return endpoint
