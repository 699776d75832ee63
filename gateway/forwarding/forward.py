"""Routes that turn a request into one message: `forward` adds such a route to a router."""

import re
from collections.abc import Mapping
from inspect import Parameter, Signature
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response

from contracts.errors import CODES
from contracts.messages import Command, Message, Query
from gateway import errors as error_codes
from gateway.dependencies import IdempotencyKey, repeatable, requires
from gateway.errors import errors as document_errors
from gateway.forwarding.request_bus import RequestBus
from gateway.forwarding.serializers import NOTHING, Serializer
from gateway.schemas.field_codes import find_field_codes
from gateway.schemas.json_body import Envelope, JsonBody, RequestBody
from gateway.schemas.path_parameters import object_kind, path_parameter
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import ReturnMessage

PATH_PARAMETER = re.compile(r"\{(\w+)((?::\w+)?)\}")
RESPONSE_CLASSES: dict[str | None, type[Response]] = {
    "application/json": JSONResponse,
    "text/plain": PlainTextResponse,
    None: Response,
}
"""Document the media type of a response; None: it is empty."""
CODES_OF_BODY = {
    "developers_id": "DEVELOPER_NOT_FOUND",
    "executor_id": "EXECUTOR_NOT_FOUND",
    "members_id": "DEVELOPER_NOT_FOUND",
    "owner_alias": "PROJECT_OWNER_INVALID",
    "projects_id": "PROJECT_NOT_FOUND",
    "repository_credential_id": "CREDENTIAL_NOT_FOUND",
    "secrets_id": "SECRET_NOT_FOUND",
}
"""Codes of references to objects that do not exist, by the name of the field."""


def forward(
    router: APIRouter,
    method: str,
    path: str,
    message: type[Command] | type[Query],
    user: Any,
    summary: str,
    *,
    body: RequestBody | None = None,
    response: Serializer = NOTHING,
    return_message: ReturnMessage | None = None,
    status_code: int = 200,
    timeout: float | None = None,
    errors: tuple[str, ...] = (),
    fixed: Mapping[str, Any] | None = None,
    fields: tuple[Any, ...] = (),
    openapi_extra: dict[str, Any] | None = None,
    **parameters: Any,
) -> None:
    """Add a route that sends `message` and responds with the answer.

    The fields of the message are the path parameters, the fields of `body`, the `fixed` ones and the `parameters`. A
    parameter is an annotated dependency under the name of its field; each of the dependencies in `fields` returns
    several fields. `user` is the annotated dependency that says who may call the route. Raises TypeError if
    `return_message` cannot follow `message`.
    """
    if return_message:
        return_message.check_follows(message)
    is_command, is_write = issubclass(message, Command), method != "GET"
    is_idempotent = is_write and is_command and requires(user) is not None
    from_path = {
        name: path_parameter(name, convertor)
        for name, convertor in PATH_PARAMETER.findall(router.prefix + path)
        if name in message.model_fields and name not in parameters
    }
    from_fields = {f"fields_{number}": Annotated[Mapping, dependency] for number, dependency in enumerate(fields)}

    async def endpoint(
        request: Request,
        user: Actor,
        body: JsonBody | Envelope | None = None,
        idempotency_key: str | None = None,
        **sent: Any,
    ) -> Response:
        values = body.message_fields() if body else {}
        several = [sent.pop(name) for name in from_fields]
        values |= sent
        for found in (fixed or {}, *several):
            values |= found
        # not a dependency, because each dependency costs as much time as parsing the body
        bus = RequestBus(request, request.app.state.gateway, idempotency_key)
        return await bus.respond(
            build_message(message, values, type(body) if body else None),
            user,
            response,
            status_code=status_code,
            timeout=timeout,
            return_message=return_message,
        )

    annotations: dict[str, Any] = {"request": Request, "user": user, **from_path, **parameters}
    annotations |= {"body": body} if body else {}
    annotations |= from_fields
    defaults = {"idempotency_key": None} if is_idempotent else {}
    annotations |= {"idempotency_key": IdempotencyKey} if is_idempotent else {}
    dependencies = []
    if issubclass(message, Command) and not is_write:
        dependencies.append(Depends(refuse_head))
    if issubclass(message, Command) and parameters and response is NOTHING:
        dependencies.append(repeatable(message, user, status_code))
    named: Any = endpoint
    named.__name__ = _snake_case(message.__name__)
    named.__signature__ = Signature(
        [
            Parameter(name, Parameter.KEYWORD_ONLY, annotation=type_, default=defaults.get(name, Parameter.empty))
            for name, type_ in annotations.items()
        ],
        return_annotation=Response,
    )
    router.add_api_route(
        path,
        named,
        methods=[method],
        response_model=response.model if response.media_type == "application/json" else None,
        response_class=RESPONSE_CLASSES[response.media_type],
        status_code=status_code,
        summary=summary,
        responses=document_errors(*errors_of(router.prefix + path, user, body, is_write=is_write), *errors),
        dependencies=dependencies,
        openapi_extra=openapi_extra,
    )


def build_message(message: type[Message], values: Mapping[str, Any], body: RequestBody | None = None) -> Any:
    """Return the message with these fields. Raises RequestValidationError, which locates the field in the body."""
    try:
        return message.model_validate(values)
    except ValidationError as error:
        first: Any = error.errors(include_input=False, include_url=False, include_context=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        location = body.location(name) if body else ("message", name)
        raise RequestValidationError([{**first, "loc": location}]) from None


def errors_of(path: str, user: Any, body: RequestBody | None, *, is_write: bool) -> list[str]:
    """Return the error codes that follow from the path, the caller and the body of a route."""
    required = requires(user)
    names = [name for name, _ in PATH_PARAMETER.findall(path)]
    codes = [*access_errors(user), *(["NOT_FOUND"] if names else []), *error_codes.ANY_ROUTE]
    codes += [code for name in names if (code := _not_found_code(name)) in CODES]
    if is_write:
        codes += [*error_codes.WRITES, *((*error_codes.COOKIES, *error_codes.IDEMPOTENCY) if required else ())]
    if body:
        codes += _errors_of_body(body)
    return codes


def _not_found_code(parameter: str) -> str:
    """Return the code for a missing object: `LABEL_NOT_FOUND` for `label_id`. It may not be a declared code."""
    kind = object_kind(parameter)
    return f"{'DEVELOPER' if kind == 'user' else kind.upper()}_NOT_FOUND"


def access_errors(user: Any) -> list[str]:
    required = requires(user)
    if required is None:
        return []
    return [*(() if required.unauthenticated_status == 403 else error_codes.TOKENS), *error_codes.ROLES]


def _errors_of_body(body: RequestBody) -> list[str]:
    fields = body if issubclass(body, JsonBody) else body.fields()
    codes: list[str] = []
    for name in fields.model_fields:
        location = body.location(name)
        wire_name = location[-1]
        field_codes = find_field_codes(location)
        prefix = field_codes.invalid if field_codes.invalid != "REQUEST_INVALID" else field_codes.required
        stem = re.sub(r"(INVALID|REQUIRED)$", "", prefix)
        codes += [code for code in CODES if stem != "REQUEST_" and code.startswith(stem)]
        codes += [CODES_OF_BODY[wire_name]] if wire_name in CODES_OF_BODY else []
    return codes


async def refuse_head(request: Request) -> None:
    """Refuse a HEAD request to a GET route that records something."""
    if request.scope.get("requested_method") == "HEAD":
        raise HTTPException(405)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
