"""Brings the log and the result of one job to the server, in that order, whatever the network does meanwhile."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.job import Job
from agent.protocol import Answer, Protocol, pauses
from agent.trace import Trace

PIECE = 1024 * 1024
SOON = 0.25  # the first output after a silence waits so long for company
HEARTBEAT = 3.0  # of a silent job: the server's lease, and its only way to tell of a cancel
RESENDS = 3  # of a whole log that the server finds different from its checksum


class Abandoned(Exception):
    """The server wants nothing more of this job."""


@dataclass(frozen=True, slots=True)
class Outcome:
    state: str
    reason: str | None = None
    exit_code: int | None = None

    def details(self, job: Job) -> dict[str, Any]:
        reason = {} if self.reason is None else {"failure_reason": job.reason(self.reason)}
        return reason | ({} if self.exit_code is None else {"exit_code": self.exit_code})


async def _happens(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


class Delivery:
    def __init__(self, protocol: Protocol, job: Job, trace: Trace, on_cancel: Callable[[], None]) -> None:
        self._protocol = protocol
        self._job = job
        self._trace = trace
        self._on_cancel = on_cancel  # the server asks for a graceful end
        self._interval = 1.0
        self._offset = 0  # everything before it is acknowledged
        self.accepted = asyncio.Event()  # the server knows that the job runs here

    async def follow(self) -> None:
        """Send the log as it grows, until it is closed and acknowledged."""
        await self._beat()
        self.accepted.set()
        loop = asyncio.get_running_loop()
        sent_at = -math.inf
        while not (self._trace.closed.is_set() and self._offset == self._trace.length):
            self._trace.grown.clear()
            if self._offset < self._trace.length:
                if self._trace.length - self._offset < PIECE:
                    due = max(sent_at + self._interval, loop.time() + SOON)
                    await _happens(self._trace.closed, due - loop.time())
                await self._append()
                sent_at = loop.time()
            elif not await _happens(self._trace.grown, max(HEARTBEAT, self._interval)):
                await self._beat()

    async def finish(self, outcome: Outcome) -> None:
        """Report the result until the server confirms it."""
        output = {"checksum": self._trace.checksum, "bytesize": self._trace.length}
        differing = 0
        for pause in pauses(first=0.5, longest=60):
            while self._offset < self._trace.length:
                await self._append()
            # a log that will never match must not cost the result
            described: dict[str, Any] = (
                {"output": output, "checksum": output["checksum"]} if differing <= RESENDS else {}
            )
            answer = await self._protocol.put_state(
                self._job.id, self._job.token, outcome.state, **outcome.details(self._job), **described
            )
            if answer.status == 200:
                return
            self._heed(answer)
            if answer.status == 412:
                differing += 1
                self._offset = 0
            await asyncio.sleep(self._interval if answer.status == 202 else pause)

    async def _beat(self) -> None:
        for pause in pauses():
            answer = await self._protocol.put_state(self._job.id, self._job.token, "running")
            self._heed(answer)
            if answer.status in (200, 202):
                return
            await asyncio.sleep(pause)

    async def _append(self) -> None:
        for pause in pauses():
            content = self._trace.read(self._offset, PIECE)
            answer = await self._protocol.append_trace(self._job.id, self._job.token, self._offset, content)
            self._heed(answer)
            before, end = self._offset, self._offset + len(content)
            if answer.status == 202:
                self._offset = end if answer.stored is None else min(answer.stored, end)
            elif answer.status == 416 and answer.stored is not None:
                self._offset = min(answer.stored, self._trace.length)
            if self._offset > before or self._offset == self._trace.length:
                return
            await asyncio.sleep(pause)

    def _heed(self, answer: Answer) -> None:
        if answer.interval is not None:
            self._interval = answer.interval
        if answer.aborts:
            raise Abandoned(answer.job_status or f"status {answer.status}")
        if answer.job_status == "canceling":
            self._on_cancel()
