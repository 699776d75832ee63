"""The route of the running system: its processes, event streams and queue."""

from collections.abc import Iterable
from typing import Annotated

from fastapi import Security

from contracts.process_status import GATEWAY, ProcessStatus
from gateway.dependencies import State, admin
from gateway.errors import READ_ERRORS, errors
from gateway.forwarding.process_statuses import EVENT_READERS, LONG_POLLS
from gateway.routers.prefix_router import json_router
from gateway.schemas.console.system_view import GatewayLoad, SystemQueue, SystemView
from libs.eventstore.decider import Actor

router = json_router("/api/admin/system", "Server")


@router.get(
    "",
    summary="List the processes of the system, with their state, their event streams and the queue.",
    responses=errors(*READ_ERRORS),
)
async def get_system(_user: Annotated[Actor, Security(admin, scopes=["SERVER_READ"])], state: State) -> SystemView:
    """Query all processes, at most once per second. A process that does not reply within a second is left out."""
    collected = await state.process_statuses.collect()
    processes = collected.processes
    leaders = [process for process in processes if process.leading]
    queue = {
        name: value for process in leaders if process.service_name == "builds" for name, value in process.gauges.items()
    }
    oldest = queue.get("headrace_queue_age_seconds")
    gateways = [process for process in processes if process.service_name == GATEWAY]
    return SystemView.model_validate(
        {
            "at": collected.at.isoformat(),
            "processes": [process.model_dump(mode="json") for process in processes],
            "streams": [process.stream.model_dump() for process in leaders if process.stream],
            "queue": SystemQueue(
                builds=_count(queue.get("headrace_builds_waiting")),
                jobs=_count(queue.get("headrace_queue_depth")),
                oldest_seconds=oldest,
            ),
            "gateway": GatewayLoad(
                event_readers=_sum_gauge(gateways, EVENT_READERS), long_polls=_sum_gauge(gateways, LONG_POLLS)
            ),
        }
    )


def _count(value: float | None) -> int | None:
    return None if value is None else int(value)


def _sum_gauge(processes: Iterable[ProcessStatus], name: str) -> int:
    return int(sum(process.gauges.get(name, 0) for process in processes))
