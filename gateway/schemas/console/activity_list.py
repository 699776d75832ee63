"""Responses of the list of all activity."""

from typing import Any

from pydantic import Field

from gateway.forwarding.serializers import Moment, ResponseModel
from gateway.schemas.console.build_overviews import NamedUser
from gateway.schemas.samples import MOMENT


class ActivityEvent(ResponseModel):
    name: str = Field(description="name of the event", examples=["ProjectRenamed"])
    data: dict[str, Any] | None = Field(
        description="fields of the event without secrets; null: too large for a list, see the object's history"
    )


class ActivityItem(ResponseModel):
    service: str = Field(description="service that recorded it", examples=["projects"])
    kind: str = Field(description="type of the object, as in `/api/admin/history/{kind}/{id}`", examples=["project"])
    id: str = Field(description="number or UUID of the object", examples=["17"])
    version: int = Field(description="version of the object after the change")
    at: Moment = Field(description="when it was recorded", examples=[MOMENT])
    actor: NamedUser = Field(description="actor; number 0: a runner or the system")
    command: str = Field(description="command that was executed", examples=["RenameProject"])
    trace_id: str | None = Field(description="trace of the request; all changes of a request have the same trace")
    events: tuple[ActivityEvent, ...] = Field(description="events of the change, in order")


class ActivityPage(ResponseModel):
    entries: tuple[ActivityItem, ...] = Field(
        description="newest first; may be fewer than `limit` although there are more"
    )
    next: str | None = Field(description="`after` of the next page; null at the end")
