"""Sequences of ids in MongoDB: increasing from 1, unique, possibly with gaps."""

import asyncio
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from pymongo import ReturnDocument
from pymongo.asynchronous.collection import AsyncCollection

from libs.documents import Document


@dataclass(slots=True, weakref_slot=True)
class PendingAllocations:
    """Callers that wait for an id of one sequence. The holder of the lock allocates for all of them."""

    requests: "list[asyncio.Future[int]]" = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class SequenceGenerator:
    """Allocates ids when they are requested. No process reserves ids in advance.

    Clients expect the newest object to have the highest id.
    """

    def __init__(self, counters: AsyncCollection[Document]) -> None:
        self._counters = counters
        self._pending = WeakValueDictionary[str, PendingAllocations]()

    async def next(self, name: str) -> int:
        """Return the next id. Concurrent callers share one write. The id of a canceled caller is skipped."""
        pending = self._pending.setdefault(name, PendingAllocations())
        request: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        pending.requests.append(request)
        async with pending.lock:
            if not request.done():
                count = len(pending.requests)
                last = await self._allocate(name, count)
                for id_, waiting in enumerate(pending.requests[:count], last - count + 1):
                    waiting.set_result(id_)
                del pending.requests[:count]
        return request.result()

    async def _allocate(self, name: str, count: int) -> int:
        """Allocate `count` ids and return the last one."""
        counter = await self._counters.find_one_and_update(
            {"_id": name}, {"$inc": {"last": count}}, upsert=True, return_document=ReturnDocument.AFTER
        )
        assert counter is not None  # noqa: S101  an upsert returns a document
        return int(counter["last"])
