"""Routes of a job's log: lines by position, and a stream of new lines."""

import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Header, Query, Request, Response, Security
from fastapi.sse import EventSourceResponse, ServerSentEvent

from contracts.builds import MAX_LOG_LINES, MAX_POSITION, GetLogLines
from contracts.identity import TokenScope
from gateway.dependencies import State, developer
from gateway.errors import READ_ERRORS, errors
from gateway.forwarding.forward import build_message, forward
from gateway.routers.prefix_router import json_router
from gateway.schemas.console.log_excerpts import LOG_PAGE
from gateway.schemas.path_parameters import JobId
from gateway.streaming.log_reader import LogReader
from libs.eventstore.decider import Actor

SCOPE = TokenScope.BUILD_READ
POSITION = re.compile(r"(\d{1,10})-(\d{1,10})-(\d{1,10})", re.ASCII)  # attempt, section, line

Reader = Annotated[Actor, Security(developer, scopes=[SCOPE])]
Attempt = Annotated[int, Query(description="attempt number, from 1; 0: the latest one", ge=0, le=MAX_POSITION)]
Section = Annotated[int, Query(description="number of the section, from 0", ge=0, le=MAX_POSITION)]
FirstLine = Annotated[
    int, Query(alias="from", description="number of the first line in its section, from 0", ge=0, le=MAX_POSITION)
]
Tail = Annotated[int | None, Query(description="the last lines, instead of a position", ge=1, le=MAX_LOG_LINES)]

router = json_router("/api/developer/jobs", "Logs")


async def get_position(attempt: Attempt = 0, section: Section = 0, line: FirstLine = 0) -> dict[str, int]:
    return {"attempt": attempt, "section": section, "line": line}


async def get_extent(
    limit: Annotated[int, Query(description="maximum number of lines", ge=1, le=MAX_LOG_LINES)] = 5000,
    tail: Tail = None,
) -> dict[str, int | None]:
    return {"limit": limit, "tail": tail}


forward(
    router,
    "GET",
    "/{job_id:id}/log/lines",
    GetLogLines,
    Reader,
    "Get lines of a job's log from a position on, across section boundaries, with secrets masked.",
    response=LOG_PAGE,
    fields=(Depends(get_position), Depends(get_extent)),
    errors=("JOB_NOT_FOUND", "LOG_NOT_FOUND", "REQUEST_INVALID"),
)


async def open_log(
    job_id: JobId,
    state: State,
    user: Annotated[Actor, Depends(developer)],
    response: Response,
    position: Annotated[dict[str, int], Depends(get_position)],
    tail: Tail = None,
    last_event_id: Annotated[str, Header(description="continue after the event with this id")] = "",
) -> AsyncIterator[LogReader]:
    response.headers["Connection"] = "close"  # after a shutdown, clients need a new connection to reach another replica
    query = build_message(GetLogLines, {"job_id": job_id, "tail": tail, **position})
    if found := POSITION.fullmatch(last_event_id):
        attempt, section, line = map(int, found.groups())
        query = build_message(GetLogLines, {"job_id": job_id, "attempt": attempt, "section": section, "line": line})
    async with state.log_readers.open(user, query) as reader:
        yield reader


@router.get(
    "/{job_id:id}/log/stream",
    response_class=EventSourceResponse,
    summary="Stream a job's log from a position on, until the attempt ends",
    responses=errors(
        *READ_ERRORS, "NOT_FOUND", "JOB_NOT_FOUND", "LOG_NOT_FOUND", "REQUEST_INVALID", "TOO_MANY_REQUESTS"
    ),
)
async def stream_log(
    _user: Reader,
    reader: Annotated[LogReader, Security(open_log, scopes=[SCOPE])],
    state: State,
    request: Request,
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events with one line of JSON, whose members are documented at the route for lines.

    `sections` comes first and when a section starts or ends, `lines` with the position after them as id, and `end` when
    the attempt has ended. Resume the stream with the id of the last event. It ends without `end` when the token becomes
    invalid, when the job is deleted, and when the gateway stops.
    """
    async for event in reader.iterate(lambda: developer.is_allowed(request, state, SCOPE)):
        yield event
