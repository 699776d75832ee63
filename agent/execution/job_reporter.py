"""Brings the log and the result of one job to the server, in that order, whatever the network does meanwhile."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.execution.job_log import JobLog
from agent.protocol.client import JobResponse, ProtocolClient, backoff_delays
from agent.protocol.job import Job

CHUNK_BYTES = 1024 * 1024
COALESCE_SECONDS = 0.25  # the first output after a silence waits so long for company
HEARTBEAT_SECONDS = 3.0  # of a silent job: the server's lease, and its only way to tell of a cancel
MAX_LOG_RESENDS = 3  # of a whole log that the server finds different from its checksum


class JobAborted(Exception):
    """The server wants nothing more of this job."""


@dataclass(frozen=True, slots=True)
class Outcome:
    state: str
    reason: str | None = None
    exit_code: int | None = None

    def to_report(self, job: Job) -> dict[str, Any]:
        reason = {} if self.reason is None else {"failure_reason": job.supported_reason(self.reason)}
        return reason | ({} if self.exit_code is None else {"exit_code": self.exit_code})


async def _wait_for(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


class JobReporter:
    def __init__(self, protocol: ProtocolClient, job: Job, trace: JobLog, on_cancel: Callable[[], None]) -> None:
        self._protocol = protocol
        self._job = job
        self._log = trace
        self._on_cancel = on_cancel  # the server asks for a graceful end
        self._interval_seconds = 1.0
        self._acknowledged = 0  # everything before it is acknowledged
        self.accepted = asyncio.Event()  # the server knows that the job runs here

    async def send_log(self) -> None:
        """Send the log as it grows, until it is closed and acknowledged."""
        await self._send_heartbeat()
        self.accepted.set()
        loop = asyncio.get_running_loop()
        sent_at = -math.inf
        while not (self._log.closed.is_set() and self._acknowledged == self._log.length):
            self._log.grown.clear()
            if self._acknowledged < self._log.length:
                if self._log.length - self._acknowledged < CHUNK_BYTES:
                    due = max(sent_at + self._interval_seconds, loop.time() + COALESCE_SECONDS)
                    await _wait_for(self._log.closed, due - loop.time())
                await self._send_chunk()
                sent_at = loop.time()
            elif not await _wait_for(self._log.grown, max(HEARTBEAT_SECONDS, self._interval_seconds)):
                await self._send_heartbeat()

    async def report_result(self, outcome: Outcome) -> None:
        """Report the result until the server confirms it."""
        output = {"checksum": self._log.checksum, "bytesize": self._log.length}
        differing = 0
        for pause in backoff_delays(initial=0.5, maximum=60):
            while self._acknowledged < self._log.length:
                await self._send_chunk()
            # a log that will never match must not cost the result
            described: dict[str, Any] = (
                {"output": output, "checksum": output["checksum"]} if differing <= MAX_LOG_RESENDS else {}
            )
            answer = await self._protocol.put_state(
                self._job.id, self._job.token, outcome.state, **outcome.to_report(self._job), **described
            )
            if answer.status == 200:
                return
            self._handle_response(answer)
            if answer.status == 412:
                differing += 1
                self._acknowledged = 0
            await asyncio.sleep(self._interval_seconds if answer.status == 202 else pause)

    async def _send_heartbeat(self) -> None:
        for pause in backoff_delays():
            answer = await self._protocol.put_state(self._job.id, self._job.token, "running")
            self._handle_response(answer)
            if answer.status in (200, 202):
                return
            await asyncio.sleep(pause)

    async def _send_chunk(self) -> None:
        for pause in backoff_delays():
            content = self._log.read(self._acknowledged, CHUNK_BYTES)
            answer = await self._protocol.append_trace(self._job.id, self._job.token, self._acknowledged, content)
            self._handle_response(answer)
            before, end = self._acknowledged, self._acknowledged + len(content)
            if answer.status == 202:
                self._acknowledged = end if answer.stored_bytes is None else min(answer.stored_bytes, end)
            elif answer.status == 416 and answer.stored_bytes is not None:
                self._acknowledged = min(answer.stored_bytes, self._log.length)
            if self._acknowledged > before or self._acknowledged == self._log.length:
                return
            await asyncio.sleep(pause)

    def _handle_response(self, answer: JobResponse) -> None:
        if answer.interval_seconds is not None:
            self._interval_seconds = answer.interval_seconds
        if answer.is_aborted:
            raise JobAborted(answer.job_status or f"status {answer.status}")
        if answer.job_status == "canceling":
            self._on_cancel()
