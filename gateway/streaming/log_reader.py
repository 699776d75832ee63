"""The log of a job as it grows, for many clients. Equal reads of several clients are one query."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from fastapi.sse import ServerSentEvent

from contracts.builds import GetLogLines, LogExcerpt, LogStep
from contracts.errors import RequestRejected
from gateway.access_cache import UNAVAILABLE_CODES
from gateway.forwarding.coalescing import RequestCoalescer
from gateway.schemas.console.log_excerpts import LogIndex, LogLines, LogText
from gateway.streaming.log_growth import LogGrowth
from libs.eventstore.decider import SYSTEM, Actor
from libs.messaging.request_reply import MessageClient

MAX_READERS_PER_USER = 20  # open logs per user on each gateway
MAX_CONCURRENT_READS = 8  # concurrent queries of a gateway; an answer has up to 700 KiB
POLL_SECONDS = 5.0  # interval of polls for new lines while no hint arrives
ACCESS_SECONDS = 15.0  # interval of checks that the client may still read the log, and of keep-alive comments
LINES_PER_EVENT = 5000


class LogReader:
    """Reads the log of one attempt for one client, from a position."""

    def __init__(self, logs: "LogReaders", user: Actor, query: GetLogLines, first: LogExcerpt) -> None:
        self._logs = logs
        self._user = user
        self._query = query
        self._first = first

    async def iterate(self, is_allowed: Callable[[], Awaitable[bool]]) -> AsyncGenerator[ServerSentEvent]:
        """Yield the index of sections and the lines.

        Ends when the attempt ends, the log is deleted, the client loses access, or the gateway stops.
        """
        query, excerpt, index = self._query, self._first, None
        checked_at = time.monotonic()
        async with self._logs.growth.watch(query.job_id) as growth:
            while True:
                if index != (index := _outline(excerpt.sections)):
                    yield _event("sections", LogIndex.of(excerpt))
                if excerpt.chunks:
                    position = f"{excerpt.attempt}-{excerpt.next.section}-{excerpt.next.line}"
                    yield _event("lines", LogLines.of(excerpt), position)
                if excerpt.finished and not excerpt.more:
                    yield _event("end", LogText.of(excerpt))
                    return
                query = query.replace(
                    attempt=excerpt.attempt, section=excerpt.next.section, line=excerpt.next.line, tail=None
                )
                hint = growth.next_hint()
                if not excerpt.more and not self._logs.growth.is_closed:
                    await _wait_for(hint)
                if self._logs.growth.is_closed:
                    return
                actor = SYSTEM
                if time.monotonic() - checked_at >= ACCESS_SECONDS:
                    if not await is_allowed():
                        return
                    checked_at, actor = time.monotonic(), self._user
                    yield ServerSentEvent(comment="keep-alive")
                try:
                    excerpt = await self._logs.read(query, actor)
                except RequestRejected as rejected:
                    if rejected.code not in UNAVAILABLE_CODES:
                        return  # the log was deleted, or the user may no longer see it
                    excerpt = excerpt.replace(chunks=(), finished=False, more=False)


class LogReaders:
    """The open logs of a gateway."""

    def __init__(self, bus: MessageClient, coalescer: RequestCoalescer, growth: LogGrowth) -> None:
        self.growth = growth
        self._bus = bus
        self._coalescer = coalescer
        self._reads = asyncio.Semaphore(MAX_CONCURRENT_READS)
        self._readers: dict[int, int] = {}  # user id -> number of open logs

    @asynccontextmanager
    async def open(self, user: Actor, query: GetLogLines) -> AsyncIterator[LogReader]:
        """Open a log. Raises TOO_MANY_REQUESTS and the errors of GetLogLines."""
        if self._readers.get(user.id, 0) >= MAX_READERS_PER_USER:
            raise RequestRejected(
                "TOO_MANY_REQUESTS", f"A user can follow {MAX_READERS_PER_USER} logs at most.", retry_after=60
            )
        self._readers[user.id] = self._readers.get(user.id, 0) + 1
        try:
            yield LogReader(self, user, query, await self.read(query, user))
        finally:
            self._readers[user.id] -= 1
            if not self._readers[user.id]:
                del self._readers[user.id]

    async def read(self, query: GetLogLines, actor: Actor) -> LogExcerpt:
        async def fetch() -> bytes:
            async with self._reads:
                return await self._bus.query(query, actor=actor)

        return LogExcerpt.model_validate_json(await self._coalescer.run((query, actor), fetch))


def _outline(steps: Sequence[LogStep]) -> tuple[LogStep, ...]:
    """Return the sections without their lengths, which clients derive from the lines."""
    return tuple(step.replace(lines=0) for step in steps)


async def _wait_for(hint: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(POLL_SECONDS):
            await hint.wait()
    except TimeoutError:
        pass


def _event(name: str, data: LogText, position: str | None = None) -> ServerSentEvent:
    return ServerSentEvent(id=position, event=name, raw_data=data.model_dump_json(by_alias=True))
