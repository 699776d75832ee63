"""The route of live events: a resumable stream of server-sent events."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Header, Query, Request, Response, Security
from fastapi.sse import EventSourceResponse, ServerSentEvent

from contracts.identity import TokenScope
from gateway.dependencies import State, any_user
from gateway.errors import READ_ERRORS, errors
from gateway.routers.prefix_router import PrefixRouter
from gateway.streaming.event_filter import EventFilter
from gateway.streaming.live_events import EventReader
from libs.eventstore.decider import Actor

SCOPE = TokenScope.EVENT_READ
Reader = Annotated[Actor, Security(any_user, scopes=[SCOPE])]

router = PrefixRouter(prefix="/api/events", tags=["Events"])


async def get_events(
    state: State,
    user: Annotated[Actor, Depends(any_user)],
    response: Response,
    since: Annotated[str, Query(description="start at this time (ISO 8601)")] = "",
    services: Annotated[str, Query(description="only events of `builds` or `runners`", max_length=100)] = "",
    streams: Annotated[str, Query(description="only events of these objects: `build-17,job-42`", max_length=4096)] = "",
    types: Annotated[str, Query(description="only these events: `BuildQueued,BuildFinished`", max_length=4096)] = "",
    projects: Annotated[str, Query(description="only events of these projects: `1,2`", max_length=4096)] = "",
    envelope: Annotated[
        bool,
        Query(description="send `at`, `type`, `stream`, `version`, `actor`, `trace_id`, and the event as `data`"),
    ] = False,
    last_event_id: Annotated[str, Header(description="resume after the event with this id")] = "",
) -> AsyncIterator[EventReader]:
    response.headers["Connection"] = "close"  # after a shutdown, clients need a new connection to reach another replica
    selection = EventFilter.parse(services=services, streams=streams, types=types, projects=projects)
    async with state.live_events.open(user, last_event_id, since, selection, envelope=envelope) as events:
        yield events


@router.get(
    "",
    response_class=EventSourceResponse,
    summary="Stream events of builds and runners",
    responses=errors(*READ_ERRORS, "TOO_MANY_REQUESTS", "REQUEST_MALFORMED", "REQUEST_INVALID", "EVENTS_EXPIRED"),
)
async def stream_events(
    _user: Reader,
    events: Annotated[EventReader, Security(get_events, scopes=[SCOPE])],
    state: State,
    request: Request,
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events with id, event name, and one line of JSON.

    The stream ends when the token becomes invalid, when the gateway stops, and when the client is 1,000 events behind;
    only in the last case it ends with a comment that begins with `closed`. Resume it with the id of the last event. If
    events since then are no longer stored, the answer is 410: load the current state, and start without an id.
    """
    async for event in events.iterate(lambda: any_user.is_allowed(request, state, SCOPE)):
        yield event
