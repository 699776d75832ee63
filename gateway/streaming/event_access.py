"""The audience of an event on the event stream: the users who may see its project.

All users get the events of runners that belong to no project. Only administrators get an event whose project is unknown
to the builds service, and an event of a runner whose registration was removed from the event log.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal

from cachetools import LRUCache
from pydantic_core import from_json

from contracts.builds import GetProjectAccess, ProjectAccessView
from contracts.errors import RequestRejected
from contracts.history import GetHistory, History
from contracts.projects import ProjectAction
from gateway.access_cache import UNAVAILABLE_CODES, StaleIfErrorCache
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import MessageClient
from libs.permissions.rule import allows

log = logging.getLogger("headrace.gateway")

MAX_CACHED_RUNNERS = 10_000
RETRY_SECONDS = 0.5

Audience = ProjectAccessView | Literal["everyone", "administrators"]


def includes(audience: Audience, user: Actor) -> bool:
    if user.is_admin or audience == "everyone":
        return True
    if not isinstance(audience, ProjectAccessView):
        return False
    companies = [audience.company_id] if audience.company_id and user.id in audience.company_members_id else []
    return allows(audience, user, ProjectAction.READ, companies)


class EventAudiences:
    """Finds the audience of events. A change of members takes effect within a second, or a minute during an outage."""

    def __init__(self, bus: MessageClient, clock: Callable[[], float]) -> None:
        self._bus = bus
        self._access = StaleIfErrorCache[int, ProjectAccessView](self._fetch_access, clock)
        # runner UUID -> id of the project that the runner belongs to; None: no project
        self._runner_projects: LRUCache[str, int | None] = LRUCache(MAX_CACHED_RUNNERS)

    async def find(self, stream: str, data: str) -> Audience:
        """Return who gets the event of a stream with this JSON. Waits while the services are unavailable."""
        event = from_json(data)
        while True:
            try:
                return await (self._of_runner(event) if stream == "runners" else self._of_project(event["project_id"]))
            except KeyError:
                return "administrators"
            except RequestRejected as rejected:
                if rejected.code not in UNAVAILABLE_CODES:
                    return "administrators"
                log.warning("the event stream waits: %s", rejected.detail)
            await asyncio.sleep(RETRY_SECONDS)

    async def _of_project(self, project_id: int) -> Audience:
        return await self._access.get(project_id)

    async def _of_runner(self, event: Mapping[str, Any]) -> Audience:
        uuid = event["runner_uuid"]
        if uuid not in self._runner_projects:
            registered = event if "owner_type" in event else await self._fetch_registration(uuid)
            self._runner_projects[uuid] = registered["owner_id"] if registered["owner_type"] == "PROJECT" else None
        project_id = self._runner_projects[uuid]
        return "everyone" if project_id is None else await self._of_project(project_id)

    async def _fetch_registration(self, runner_uuid: str) -> Mapping[str, Any]:
        """Return the first event of a runner, which contains its owner.

        Raises RequestRejected with HISTORY_NOT_FOUND for a runner that was removed from the event log.
        """
        answer = await self._bus.query(GetHistory(kind="runner", id=runner_uuid, limit=1))
        return History.model_validate_json(answer).entries[0].events[0].data

    async def _fetch_access(self, project_id: int) -> ProjectAccessView:
        return ProjectAccessView.model_validate_json(await self._bus.query(GetProjectAccess(project_id=project_id)))
