"""Reports of one job to the server, with retries: first its log, then its result."""

import asyncio
import math
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.execution.job_log import JobLog
from agent.protocol.client import ProtocolClient
from agent.protocol.job import Job
from agent.protocol.responses import JobResponse
from libs.backoff import backoff_delays

CHUNK_BYTES = 1024 * 1024
MAX_LOG_END_BYTES = 64 * 1024  # maximum length of the rest of the log that is sent with the result
COALESCE_SECONDS = 0.25  # wait after new output, so that further output is sent with it
HEARTBEAT_SECONDS = 3.0  # interval of heartbeats without output; they extend the lease and detect a cancellation
MAX_LOG_RESENDS = 3  # how often the whole log is sent again because of a checksum mismatch


class JobAborted(Exception):
    """The server accepts no more reports of this job: it was canceled or failed, or another runner has it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a job or of a part of it, with the state and failure reason of GitLab's protocol."""

    state: str
    reason: str | None = None
    exit_code: int | None = None

    def to_report(self, job: Job) -> dict[str, Any]:
        """Return the failure reason and the exit code that are set, as fields of a report to the server."""
        reason = {} if self.reason is None else {"failure_reason": job.supported_reason(self.reason)}
        return reason | ({} if self.exit_code is None else {"exit_code": self.exit_code})


async def _wait_for(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event, and return whether it was set in time."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


class JobReporter:
    def __init__(self, protocol: ProtocolClient, job: Job, log: JobLog, on_cancel: Callable[[], None]) -> None:
        self._protocol = protocol
        self._job = job
        self._log = log
        self._on_cancel = on_cancel  # called when the server requests a graceful cancellation
        self._interval_seconds = 1.0
        self._acknowledged = 0  # bytes of the log that the server has
        self._sends_log_end = job.accepts_log_end
        self.accepted = asyncio.Event()  # set when the server has confirmed that the job runs here

    async def send_log(self) -> None:
        """Send the log as it grows. Return when the log is closed, and its unsent rest fits into the result.

        Raises JobAborted.
        """
        await self._send_heartbeat()
        self.accepted.set()
        loop = asyncio.get_running_loop()
        sent_at = -math.inf
        while not self._is_sent():
            self._log.grown.clear()
            if self._acknowledged < self._log.length:
                if self._log.length - self._acknowledged < CHUNK_BYTES:
                    due = max(sent_at + self._interval_seconds, loop.time() + COALESCE_SECONDS)
                    await _wait_for(self._log.closed, due - loop.time())
                if not self._is_sent():
                    await self._send_chunk()
                    sent_at = loop.time()
            elif not await _wait_for(self._log.grown, max(HEARTBEAT_SECONDS, self._interval_seconds)):
                await self._send_heartbeat()

    async def report_result(self, outcome: Outcome) -> None:
        """Report the result until the server confirms it. Raises JobAborted."""
        output = {"checksum": self._log.checksum, "bytesize": self._log.length}
        mismatches = 0
        for delay in backoff_delays(initial=0.5, maximum=60):
            while not self._is_sent():
                await self._send_chunk()
            # after MAX_LOG_RESENDS mismatches send no checksum, because the server would never accept the result
            log_details: dict[str, Any] = (
                {"output": output, "checksum": output["checksum"]} if mismatches <= MAX_LOG_RESENDS else {}
            )
            if rest := self._log.read(self._acknowledged, MAX_LOG_END_BYTES):
                log_details["log_end"] = {"offset": self._acknowledged, "content": b64encode(rest).decode()}
            answer = await self._protocol.put_state(
                self._job.id, self._job.token, outcome.state, **outcome.to_report(self._job), **log_details
            )
            if answer.status == 200:
                return
            self._handle_response(answer)
            self._sends_log_end = False  # during an upgrade, an older server may have ignored `log_end`
            if answer.status == 412:
                mismatches += 1
                self._acknowledged = 0
            await asyncio.sleep(self._interval_seconds if answer.status == 202 else delay)

    def _is_sent(self) -> bool:
        """Return whether the log is closed, and the server has all of it or gets the rest with the result."""
        rest = self._log.length - self._acknowledged
        return self._log.closed.is_set() and rest <= (MAX_LOG_END_BYTES if self._sends_log_end else 0)

    async def _send_heartbeat(self) -> None:
        for delay in backoff_delays():
            answer = await self._protocol.put_state(self._job.id, self._job.token, "running")
            self._handle_response(answer)
            if answer.status in (200, 202):
                return
            await asyncio.sleep(delay)

    async def _send_chunk(self) -> None:
        for delay in backoff_delays():
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
            await asyncio.sleep(delay)

    def _handle_response(self, answer: JobResponse) -> None:
        if answer.interval_seconds is not None:
            self._interval_seconds = answer.interval_seconds
        if answer.is_aborted:
            raise JobAborted(answer.job_status or f"status {answer.status}")
        if answer.job_status == "canceling":
            self._on_cancel()
