"""Requests with a JSON body. The body's model parses it, so that a caller is authenticated before.

Use the route classes as `route_class` of a router: GitFlic's API reads every body as JSON, Free Commit's only a body
that is sent as JSON, and its objects may be flattened.
"""

from collections.abc import Callable, Coroutine, Mapping
from functools import cached_property
from typing import Any, ClassVar

from fastapi import HTTPException, Request
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.responses import Response
from starlette.types import Receive, Scope

from contracts.errors import RequestRejected

MAX_BODY_BYTES = 1024 * 1024
RESERVED_MEMBER = "uploaded_file"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some Windows programs begin a file with it


async def read_body(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """Read a request's body. Raises HTTPException with status 413 if it is longer than `limit` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise HTTPException(413, f"The body of this request can have at most {limit} bytes.")
    return bytes(body)


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in the body; a blank body and null are an empty object.

    Raises REQUEST_MALFORMED or REQUEST_INVALID.
    """
    if not raw.strip():
        return {}
    try:
        parsed = from_json(raw.removeprefix(BYTE_ORDER_MARK), allow_inf_nan=False)
    except ValueError as error:
        # the parser's message names a position but quotes nothing of the body
        raise RequestRejected("REQUEST_MALFORMED", f"The body is not valid JSON: {error}.") from None
    if parsed is None:
        return {}
    if not isinstance(parsed, dict):
        raise RequestRejected("REQUEST_INVALID", "The body must be a JSON object.")
    return parsed


def flatten(body: dict[str, Any]) -> dict[str, Any]:
    """Return `{"project_name": "x"}` for `{"project": {"name": "x"}}`; deeper members stay unchanged.

    A list of objects becomes one list per member: `{"job": [{"id": 1}, {"id": 2}]}` becomes `{"job_id": [1, 2]}`.
    """
    flat: dict[str, Any] = {}
    for name, value in body.items():
        match value:
            case _ if name == RESERVED_MEMBER:
                continue
            case dict():
                flat.update({f"{name}_{member}": inner for member, inner in value.items()})
            case [dict(), *_] if all(isinstance(one, dict) for one in value):
                for member in {member: None for one in value for member in one}:
                    flat[f"{name}_{member}"] = [one[member] for one in value if member in one]
            case _:
                flat[name] = value
    return flat


class JsonText(bytes):
    """The text of a JSON object. It is parsed once, when its members are first used."""

    @cached_property
    def members(self) -> Mapping[str, Any]:
        return parse_object(self)

    @cached_property
    def flat_members(self) -> Mapping[str, Any]:
        return flatten(parse_object(self))


class JsonRequest(Request):
    """A request whose body is JSON, whatever its content type says. An empty body is an empty object."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        self._text: JsonText | None = None

    async def body(self) -> JsonText:
        if self._text is None:
            raw = await read_body(self)
            self._text = JsonText(raw if raw and self.has_json() else b"{}")
        return self._text

    def has_json(self) -> bool:
        return True

    async def json(self) -> JsonText:
        """Return the unparsed body: FastAPI passes the result to the body's model."""
        return await self.body()

    async def parse(self) -> Mapping[str, Any]:
        """Return the body's members in the form from which fingerprints are computed."""
        return (await self.body()).members


class FreeCommitRequest(JsonRequest):
    """A request to Free Commit's API: a body that is not sent as JSON is an empty object."""

    def has_json(self) -> bool:
        return "application/json" in self.headers.get("content-type", "").lower()

    async def parse(self) -> Mapping[str, Any]:
        return (await self.body()).flat_members


class JsonRoute(APIRoute):
    request_class: ClassVar[type[JsonRequest]] = JsonRequest

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(self.request_class(request.scope, request.receive))

        return handle


class FreeCommitRoute(JsonRoute):
    request_class = FreeCommitRequest
