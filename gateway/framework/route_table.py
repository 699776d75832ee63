"""Routes as data: the required role, the message sent for a request, and the serialization of the answer."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pydantic import ValidationError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from contracts.errors import CODES, RequestRejected
from contracts.messages import Command, Message, Query
from gateway.auth import Role, role_for_path
from gateway.context import AppState, RequestContext, read_idempotency_key
from gateway.framework.fields import Field, Unreadable
from gateway.framework.request_body import flattened, json_object, parameters, read_body
from gateway.framework.serializers import Writer
from gateway.token_scopes import required_scope
from libs.eventstore.decider import SYSTEM, Actor
from libs.messaging.request_reply import ReturnQuery

SEAM = re.compile(r"(?<=[a-z])(?=[A-Z])")  # word boundary in camelCase
PAGE = "/api-free-commit/"
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


Part = Callable[[RequestContext], Mapping[str, Any]]
Find = Callable[[RequestContext], Awaitable[Mapping[str, Any]]]
Answer = Callable[[RequestContext], Awaitable[Response]]


@dataclass(frozen=True)
class Body:
    """The fields of a resource in a request body, and how they map to fields of the message."""

    resource: str
    fields: Mapping[str, Field]
    bare: bool = False  # fields are at the top level of the body, not under the resource's name

    def read(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Return the message's fields from the body `sent`. Missing ones are omitted: the message has defaults."""
        found: dict[str, Any] = {}
        for name, one in self.fields.items():
            wire = one.wire or name if self.bare else f"{self.resource}_{one.wire or name}"
            if one.required and sent.get(wire) in (None, ""):
                raise RequestRejected(self.code(name, "REQUIRED"), f"{wire} is missing, null or empty.")
            if wire in sent or one.always:
                try:
                    found[name] = one.read(sent.get(wire))
                except Unreadable as error:
                    raise RequestRejected(self.code(name, "INVALID"), f"{wire} must be {error}.") from None
        return found

    def code(self, name: str, reason: str) -> str:
        """Return the field's error code for `reason` (REQUIRED or INVALID); REQUEST_INVALID if it has none."""
        own = (start + reason for start in self.code_starts(name))
        return next((code for code in own if code in CODES), "REQUEST_INVALID")

    def code_starts(self, name: str) -> tuple[str, ...]:
        """Return the prefixes of the field's error codes: its name in the body, and its name in the message."""
        wire = self.fields[name].wire if name in self.fields else ""
        return tuple(f"{self.resource}_{SEAM.sub('_', one)}_".upper() for one in (wire, name) if one)


def body(resource: str, **fields: Field) -> Body:
    return Body(resource, fields)


def bare(resource: str, **fields: Field) -> Body:
    return Body(resource, fields, bare=True)


@dataclass(frozen=True)
class Route:
    method: str
    path: str  # below /api
    needs: Role
    status: int = 200
    also: int | None = None  # a second success status, with the same response model
    message: type[Message] | None = None
    body: Body = field(default_factory=lambda: Body("", {}))
    raw: int = 0  # maximum size in bytes of an unparsed body; 0: the body is parsed
    find: Find | None = None  # resolver, called before the body is read; its result replaces the path parameters
    parts: tuple[Part, ...] = ()  # functions that return further fields of the message
    then: ReturnQuery | None = None  # query whose answer is the response to a command
    write: Writer | None = None  # converts the answer to the response body; None: an empty body
    answer: Answer | None = None  # handler that replaces sending a message
    timeout: float | None = None  # seconds for the answer of the service; None: default
    stranger: int = 401  # status of the response to a missing or bad token
    errors: tuple[str, ...] = ()  # error codes specific to the route, for its documentation
    poll: bool = False  # respond with an empty list during an outage: errors break Free Commit's web page
    query: Mapping[str, str] = field(default_factory=dict)  # query parameters and their descriptions
    headers: Mapping[str, str] = field(default_factory=dict)  # request headers and their descriptions


@dataclass(frozen=True)
class Shown:
    """The response to a command: the resource that it created or changed, queried by its id."""

    then: ReturnQuery
    write: Writer


def command(
    method: str,
    path: str,
    message: type[Command],
    *,
    needs: Role | None = None,
    shows: Shown | None = None,
    write: Writer | None = None,
    **more: Any,
) -> Route:
    if shows:
        more |= {"then": shows.then}
        write = shows.write
    return Route(method, path, role_for_path(path) if needs is None else needs, message=message, write=write, **more)


def query(path: str, message: type[Query], *, method: str = "GET", needs: Role | None = None, **more: Any) -> Route:
    return Route(method, path, role_for_path(path) if needs is None else needs, message=message, **more)


def own(method: str, path: str, answer: Answer, *, needs: Role | None = None, **more: Any) -> Route:
    return Route(method, path, role_for_path(path) if needs is None else needs, answer=answer, **more)


Handle = Callable[[AppState, Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Raw:
    """A route with a plain ASGI handler, for other protocols and endless responses."""

    method: str
    path: str
    handle: Handle


def answered(answer: Callable[[AppState, Scope, Receive], Awaitable[Response]]) -> Handle:
    async def handle(app_state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
        response = await answer(app_state, scope, receive)
        await response(scope, receive, send)

    return handle


class Endpoint:
    """The ASGI endpoint of one route."""

    def __init__(self, app_state: AppState, route: Route) -> None:
        self._app_state = app_state
        self._route = route
        self._answer = route.answer or self._pass_on
        self._scope = None if route.needs is Role.ANONYMOUS else required_scope(route.method, route.path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._respond(scope, receive)
        except RequestRejected as rejection:
            if not (self._route.poll and rejection.failure.status >= 500 and scope["requested_path"].startswith(PAGE)):
                raise
            response = Response(b"[]", media_type="application/json")
        await response(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        context = await self._admitted(scope)
        if self._route.find:
            try:
                context = replace(context, path_params=await self._route.find(context))
            except RequestRejected as rejection:
                if not context.idempotency_key or rejection.failure.status != 404:
                    raise
                return await self._as_before(await self._with_body(context, receive), rejection)
        return await self._answer(await self._with_body(context, receive))

    async def _as_before(self, context: RequestContext, rejection: RequestRejected) -> Response:
        """Respond to a repeated command that has deleted the object in the path. Raise `rejection` for others."""
        status, command, write = self._route.status, self._route.message, self._route.write
        known = (
            write is None and command and issubclass(command, Command) and await context.has_recorded_response(command)
        )
        if known:
            return Response(status_code=status)
        raise rejection

    async def _admitted(self, scope: Scope) -> RequestContext:
        route = self._route
        headers = dict(scope["headers"])
        actor = SYSTEM if route.needs is Role.ANONYMOUS else await self._admit(headers)
        return RequestContext(
            state=self._app_state,
            scope=scope,
            method=route.method,
            path=scope["path"].removeprefix("/api"),
            path_params=scope["path_params"],
            query=scope["query_string"],
            headers=headers,
            actor=actor,
            body={},
            idempotency_key=read_idempotency_key(headers)
            if route.method in WRITES and route.needs is not Role.ANONYMOUS
            else "",
        )

    async def _with_body(self, context: RequestContext, receive: Receive) -> RequestContext:
        route, headers = self._route, context.headers
        if route.raw:
            context = replace(context, raw_body=await read_body(receive, route.raw))
        elif route.method in WRITES:
            raw = await read_body(receive)
            if route.body.fields or route.answer:  # other routes ignore the body
                if route.body.bare:
                    context = replace(context, body=json_object(raw) if raw.strip() else {})
                else:
                    sent = parameters(raw, headers.get(b"content-type", b"").decode("latin-1"))
                    context = replace(context, body=flattened(sent))
        return context

    async def _admit(self, headers: Mapping[bytes, bytes]) -> Actor:
        try:
            return await self._app_state.authenticator.authenticate(headers, self._route.needs, self._scope)
        except RequestRejected as rejection:
            if CODES[rejection.code].status == 401 and self._route.stranger != 401:
                raise RequestRejected("FORBIDDEN", rejection.failure.detail) from None
            raise

    async def _pass_on(self, context: RequestContext) -> Response:
        route = self._route
        message = self._message(context)
        if isinstance(message, Query) and not route.timeout:
            key = (route.path, message, context.actor)
            body = await self._app_state.coalescer.run(key, partial(self._ask, message, context))
        else:
            answer = await context.send(message, timeout=route.timeout, return_query=route.then)
            body = self._written(answer, context, message)
        return Response(body, route.status, media_type=route.write.media if route.write else None)

    async def _ask(self, query: Query, context: RequestContext) -> bytes:
        return self._written(await self._app_state.bus.query(query, actor=context.actor), context, query)

    def _written(self, answer: bytes, context: RequestContext, message: Message) -> bytes:
        return self._route.write(answer, context, message) if self._route.write else b""

    def _message(self, context: RequestContext) -> Message:
        route = self._route
        assert route.message is not None  # noqa: S101  a route without one has its own answer
        fields = {**route.body.read(context.body), **context.path_params}
        for part in route.parts:
            fields |= part(context)
        try:
            return route.message.model_validate(fields)
        except ValidationError as error:
            raise self._refusal(error) from None

    def _refusal(self, error: ValidationError) -> RequestRejected:
        """Return the first validation error with the field's error code. It omits the value, which may be a secret."""
        fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
        name = str(fault["loc"][0]) if fault["loc"] else ""
        known = self._route.body.fields.get(name)
        wire = (known.wire if known else "") or name
        code = self._route.body.code(name, "REQUIRED" if fault["type"] == "missing" else "INVALID")
        return RequestRejected(code, f"{wire}: {fault['msg']}")
