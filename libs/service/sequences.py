"""Numbers of things, kind by kind: from 1, never twice, and never smaller than one that was given before."""

import asyncio
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from pymongo import ReturnDocument
from pymongo.asynchronous.collection import AsyncCollection

from libs.eventstore.mapping import Document


@dataclass(slots=True, weakref_slot=True)
class PendingAllocations:
    """Those who wait for a number of one kind; whoever has the lock takes for all of them."""

    requests: "list[asyncio.Future[int]]" = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class SequenceGenerator:
    """Clients sort by number and take the largest for the latest, so processes take them one by one, not in blocks."""

    def __init__(self, counters: AsyncCollection[Document]) -> None:
        self._counters = counters
        self._pending = WeakValueDictionary[str, PendingAllocations]()

    async def next(self, name: str) -> int:
        """Costs a write, shared by all who ask meanwhile; a number whose taker has gone is skipped."""
        queue = self._pending.setdefault(name, PendingAllocations())
        mine = asyncio.get_running_loop().create_future()
        queue.requests.append(mine)
        async with queue.lock:
            if not mine.done():
                count = len(queue.requests)
                last = await self._allocate(name, count)
                for number, one in enumerate(queue.requests[:count], last - count + 1):
                    one.set_result(number)
                del queue.requests[:count]
        return int(mine.result())

    async def _allocate(self, name: str, count: int) -> int:
        """The last of so many."""
        counter: Any = await self._counters.find_one_and_update(
            {"_id": name}, {"$inc": {"last": count}}, upsert=True, return_document=ReturnDocument.AFTER
        )
        return int(counter["last"])
