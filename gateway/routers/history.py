"""The route of histories and past states."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Path, Query, Request, Security
from pydantic import ValidationError
from starlette.responses import Response

from contracts.errors import RequestRejected
from contracts.history import GetHistory, GetState, History, StreamQuery, StreamState
from gateway.dependencies import Bus, admin
from gateway.errors import READ_ERRORS, errors
from gateway.routers.prefix_router import PrefixRouter
from gateway.schemas.loose_types import parse_time
from libs.eventstore.decider import Actor

MAX_PAGE_SIZE = 1000
TIMEOUT_SECONDS = 10.0  # rebuilding a state from all events of an object takes time

router = PrefixRouter(prefix="/api/admin/history", tags=["History"])
KINDS = "type of the object, like project, secret, credential, executor, user, company, build, job or runner"


@router.get(
    "/{kind}/{id}",
    response_model=History | StreamState,
    summary="Get an object's history, or its state with `at` or `version`. Secret values are never included.",
    responses=errors(*READ_ERRORS, "NOT_FOUND", "REQUEST_MALFORMED", "HISTORY_KIND_UNKNOWN", "HISTORY_NOT_FOUND"),
)
async def get_history_or_state(
    kind: Annotated[str, Path(description=KINDS, min_length=1, examples=["project"])],
    id: Annotated[  # noqa: A002  the name in the path
        str,
        Path(description="number or UUID of the object, as in the name of its stream", min_length=1, examples=["17"]),
    ],
    user: Annotated[Actor, Security(admin, scopes=["SERVER_READ"])],
    bus: Bus,
    request: Request,
    _after: Annotated[
        str | None,
        Query(
            alias="after", description="continue after this version, in the given order: `next` of the previous page"
        ),
    ] = None,
    _per_page: Annotated[
        str | None,
        Query(
            alias="per_page",
            description="maximum number of entries, 1 to 1000, default 100; a page has fewer if it would be too large",
        ),
    ] = None,
    _order_by: Annotated[
        str | None, Query(alias="order_by", description="`ASC` (default): oldest first; `DESC`: newest first")
    ] = None,
    _at: Annotated[
        str | None,
        Query(
            alias="at",
            description="return the state at this time: ISO 8601, UTC if it has no zone, midnight if it is a date",
        ),
    ] = None,
    _version: Annotated[str | None, Query(alias="version", description="return the state at this version")] = None,
) -> Response:
    # the query parameters are declared only for the documentation, because some of them have two names
    query = _build_query({"kind": kind, "id": id}, request.query_params)
    return Response(await bus.send(query, user, timeout=TIMEOUT_SECONDS), media_type="application/json")


def _build_query(path_params: Mapping[str, Any], parameters: Mapping[str, str]) -> StreamQuery:
    if "at" in parameters or "version" in parameters:
        at = {"at": parse_time("at", parameters["at"])} if "at" in parameters else {}
        version = {"version": parameters["version"]} if "version" in parameters else {}
        return _validate(GetState, {**path_params, **at, **version})
    order = parameters.get("order_by", parameters.get("orderBy", "ASC")).upper()
    if order not in ("ASC", "DESC"):
        raise RequestRejected("REQUEST_MALFORMED", "order_by must be ASC or DESC.")
    fields = {"limit": _parse_page_size(parameters), "newest_first": order == "DESC", **path_params}
    return _validate(GetHistory, fields | ({"after": parameters["after"]} if "after" in parameters else {}))


def _parse_page_size(parameters: Mapping[str, str]) -> int:
    text = parameters.get("per_page", parameters.get("perPage", "100"))
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise RequestRejected("REQUEST_MALFORMED", "per_page must be a whole number.")
    return min(max(int(text), 1), MAX_PAGE_SIZE)


def _validate(message: type[StreamQuery], fields: Mapping[str, Any]) -> StreamQuery:
    try:
        return message.model_validate(fields)
    except ValidationError as error:
        first_error = error.errors(include_input=False, include_url=False, include_context=False)[0]
        if first_error["loc"][0] in ("kind", "id"):
            raise RequestRejected("HISTORY_NOT_FOUND") from None
        raise RequestRejected("REQUEST_MALFORMED", f"{first_error['loc'][0]}: {first_error['msg']}.") from None
