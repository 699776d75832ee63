"""The route of histories and past states."""

from typing import Annotated

from fastapi import Path, Query, Request, Security
from starlette.responses import Response

from contracts.history import History, StreamState
from gateway.dependencies import Bus, admin
from gateway.errors import READ_ERRORS, errors
from gateway.routers.prefix_router import PrefixRouter
from gateway.schemas.object_history import build_query
from libs.eventstore.decider import Actor

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
    """The query parameters are declared only for the documentation: `build_query` reads them, under several names."""
    query = build_query({"kind": kind, "id": id}, request.query_params)
    return Response(await bus.send(query, user, timeout=TIMEOUT_SECONDS), media_type="application/json")
