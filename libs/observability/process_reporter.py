"""The status report of a process, and the subscription that sends it to gateways on request."""

import logging
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from contracts.process_status import GetProcessStatus, ProcessStatus
from libs.observability.event_loop_monitor import EventLoopMonitor
from libs.observability.health import Health
from libs.version import VERSION

log = logging.getLogger("headrace.status")

CHECK_TIMEOUT_SECONDS = 0.4  # shorter than the time that gateways wait for a report
MAX_PENDING_REQUESTS = 100  # further requests are dropped

Report = Callable[[], Awaitable[ProcessStatus]]


class ProcessReporter:
    def __init__(self, service: str, instance: str, health: Health, monitor: EventLoopMonitor) -> None:
        self._service = service
        self._instance = instance
        self._health = health
        self._monitor = monitor
        self._started_at = datetime.now(UTC)

    async def report(self) -> ProcessStatus:
        problems = await self._health.find_problems(CHECK_TIMEOUT_SECONDS)
        return ProcessStatus(
            service_name=self._service,
            instance=self._instance,
            version=VERSION,
            ready=not problems,
            reasons=tuple(problems.values()),
            started_at=self._started_at,
            loop_lag_ms=round(self._monitor.lag_seconds * 1000, 1),
            rss_bytes=_read_resident_bytes(),
        )


async def answer_status_requests(client: Client, service: str, report: Report) -> None:
    """Answer GetProcessStatus. The subscription has no queue group, so that each replica of the service answers."""

    async def on_request(message: Msg) -> None:
        try:
            await message.respond((await report()).model_dump_json().encode())
        except NatsError as error:
            log.debug("the status was not sent: %s", type(error).__name__)

    subject = GetProcessStatus.subject_at(service)
    await client.subscribe(subject, cb=on_request, pending_msgs_limit=MAX_PENDING_REQUESTS)


def _read_resident_bytes() -> int:
    """Return the resident memory as Linux counts it, or 0 on other systems. See proc_pid_statm(5)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
