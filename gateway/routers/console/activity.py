"""The route for the changes of all objects, newest first."""

import asyncio
from typing import Annotated, Any

from fastapi import Depends, Query, Security

from contracts.errors import RequestRejected
from contracts.history import EVENT_SERVICES, MAX_ACTIVITY, Activity, CommitPosition, GetActivity, aggregate_types
from gateway.dependencies import Bus, admin
from gateway.errors import READ_ERRORS, errors
from gateway.forwarding.activity_feed import FeedPosition, merge
from gateway.routers.prefix_router import json_router
from gateway.schemas.console.activity_list import ActivityItem, ActivityPage
from gateway.schemas.loose_types import MAX_ID, parse_time
from libs.eventstore.decider import Actor

TIMEOUT_SECONDS = 10.0  # a rare actor or project is searched for in thousands of entries

router = json_router("/api/admin/activity", "History")


async def get_filter(
    kind: Annotated[
        str | None, Query(description="type of the objects, as in `/api/admin/history/{kind}/{id}`", max_length=64)
    ] = None,
    actor: Annotated[
        int | None, Query(description="number of a user; 0: runners and the system", ge=0, le=MAX_ID)
    ] = None,
    project: Annotated[
        int | None, Query(description="number of a project that the entries are about", ge=0, le=MAX_ID)
    ] = None,
    trace: Annotated[str | None, Query(description="`trace_id` of a request", pattern="^[0-9a-f]{32}$")] = None,
) -> dict[str, Any]:
    """Return the filters of GetActivity. Raises HISTORY_KIND_UNKNOWN."""
    if kind and kind not in aggregate_types():
        raise RequestRejected("HISTORY_KIND_UNKNOWN", f"The kinds are {', '.join(sorted(aggregate_types()))}.")
    return {"kind": kind or None, "actor_id": actor, "project_id": project, "trace_id": trace}


@router.get(
    "",
    summary="List the changes of all objects, newest first. Secret values are never included.",
    responses=errors(
        *READ_ERRORS, "REQUEST_INVALID", "REQUEST_MALFORMED", "PAGINATION_CURSOR_INVALID", "HISTORY_KIND_UNKNOWN"
    ),
)
async def list_activity(
    user: Annotated[Actor, Security(admin, scopes=["SERVER_READ"])],
    bus: Bus,
    filters: Annotated[dict[str, Any], Depends(get_filter)],
    until: Annotated[
        str, Query(description="list only entries before this time: ISO 8601, UTC if it has no zone")
    ] = "",
    after: Annotated[str, Query(description="`next` of the previous page", max_length=400)] = "",
    limit: Annotated[int, Query(description="maximum number of entries", ge=1, le=MAX_ACTIVITY)] = 50,
) -> ActivityPage:
    """One page examines at most 10,000 entries of each service, so a page of a rare actor may be empty.

    Continue with `next` until it is null.
    """
    position = FeedPosition.parse(after) if after else None
    end = CommitPosition(at=parse_time("until", until)) if until else None
    kind = filters["kind"]
    services = (aggregate_types()[kind],) if kind else EVENT_SERVICES

    async def ask(service: str) -> Activity:
        before = position.in_log_of(service) if position else end
        query = GetActivity(log_of=service, before=before, limit=limit, **filters)
        return Activity.model_validate_json(await bus.send(query, user, timeout=TIMEOUT_SECONDS))

    answers = await asyncio.gather(*map(ask, services))
    page = merge(dict(zip(services, answers, strict=True)), limit)
    return ActivityPage(
        entries=tuple(
            ActivityItem.model_validate(
                {
                    **entry.model_dump(mode="json"),
                    "service": service,
                    "version": entry.position.version,
                    "at": entry.position.at.isoformat(),
                    "trace_id": entry.trace_id or None,
                }
            )
            for service, entry in page.entries
        ),
        next=str(page.next) if page.next else None,
    )
