"""The route of live events: a resumable stream of server-sent events."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Header, Query, Request, Response, Security
from fastapi.sse import EventSourceResponse, ServerSentEvent

from contracts.errors import RequestRejected
from contracts.identity import TokenScope
from gateway.dependencies import State, any_user
from gateway.errors import READ_ERRORS, errors
from gateway.routers.prefix_router import PrefixRouter
from gateway.streaming.event_stream import EventFeed, open_event_feed
from libs.eventstore.decider import Actor

SCOPE = TokenScope.EVENT_READ
Reader = Annotated[Actor, Security(any_user, scopes=[SCOPE])]

router = PrefixRouter(prefix="/api/events", tags=["Events"])


async def get_feed(
    state: State,
    user: Annotated[Actor, Depends(any_user)],
    response: Response,
    since: Annotated[str, Query(description="start at this time (ISO 8601)")] = "",
    last_event_id: Annotated[str, Header(description="resume after the event with this id")] = "",
) -> AsyncIterator[EventFeed]:
    response.headers["Connection"] = "close"  # after a shutdown, clients need a new connection to reach another replica
    async with open_event_feed(state, user, last_event_id, since) as feed:
        yield feed


@router.get(
    "",
    response_class=EventSourceResponse,
    summary="Stream events of builds and runners",
    responses=errors(*READ_ERRORS, "TOO_MANY_REQUESTS", "REQUEST_MALFORMED"),
)
async def stream_events(
    _user: Reader,
    feed: Annotated[EventFeed, Security(get_feed, scopes=[SCOPE])],
    state: State,
    request: Request,
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events with id, event name, and one line of JSON. The stream ends when the token becomes invalid."""

    async def is_allowed() -> bool:
        try:
            await any_user.authenticate(request, state, SCOPE)
        except RequestRejected:
            return False
        return True

    async for event in feed.iterate(is_allowed):
        yield event
