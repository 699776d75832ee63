"""Long lists by time, newest first: neither the total nor a late page walks over all that comes before it.

What is counted once is remembered for a minute as milestones: times in the list with the number of rows before them.
New rows come before the first and are counted each time; a row that vanishes behind it still counts for so long.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

from contracts.messages import Row
from contracts.paging import SliceQuery
from libs.paging import bounds
from libs.rows import DATED, Rows

EARLIEST = DATED["$gt"]
APART = 5_000  # rows; a list that is not longer has none
LASTING = 60.0  # seconds
MOST = 500  # lists that are remembered

R = TypeVar("R", bound=Row)
Condition = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Milestone:
    at: datetime
    before: int  # rows from the first milestone on that are newer


@dataclass(frozen=True, slots=True)
class Milestones:
    """The first is the newest row that has come to rest."""

    marks: tuple[Milestone, ...]
    count: int  # of rows from the first on
    until: float  # of the monotonic clock


class LongList(Generic[R]):
    """Lists of the rows of one view, in the order of a time (of the partial indexes: see DATED), then of their ids."""

    def __init__(self, by: str, moving: datetime) -> None:
        """`moving`: the time of the rows whose place is not settled yet; they stand before all others."""
        self._by = by
        self._moving = moving
        self._order = ((by, -1), ("id", -1))
        self._known: dict[Any, Milestones] = {}

    async def slice(self, rows: Rows[R], key: Any, wanted: Condition, query: SliceQuery) -> tuple[list[R], int]:
        """A page, and how many rows there are in all. Lists of the same key are the same."""
        skip, limit = bounds(query)
        here: Condition = {**wanted, self._by: DATED}
        known = self._known.get(key)
        if known is None:
            found = await rows.find(here, self._order, skip=skip, limit=limit + 1) if skip <= APART else []
            if len(found) <= limit and (found or not skip):
                return found[:limit], skip + len(found)
            total = await rows.count(here, limit=APART + 1)
            if total <= APART:
                return found[:limit], total
        if known is None or time.monotonic() > known.until:
            known = await self._remember(rows, key, here)
        new = await rows.count(self._between(here, {"$gt": known.marks[0].at}))
        total = new + known.count
        passed = [mark for mark in known.marks if new + mark.before <= skip]
        if passed:
            here, skip = self._between(here, {"$lte": passed[-1].at}), skip - new - passed[-1].before
        return await rows.find(here, self._order, skip=skip, limit=limit), total

    async def _remember(self, rows: Rows[R], key: Any, here: Condition) -> Milestones:
        if former := self._known.pop(key, None):  # whoever comes meanwhile finds these
            self._known[key] = replace(former, until=time.monotonic() + LASTING)
        marks = await self._set(rows, here)
        count = marks[-1].before + await rows.count(self._between(here, {"$lte": marks[-1].at}))
        while len(self._known) >= MOST:
            self._known.pop(next(iter(self._known)))
        self._known[key] = Milestones(tuple(marks), count, time.monotonic() + LASTING)
        return self._known[key]

    async def _set(self, rows: Rows[R], here: Condition) -> list[Milestone]:
        at = await self._time(rows, self._between(here, {"$lt": self._moving}), 0) or EARLIEST
        marks, step = [Milestone(at, 0)], APART
        while further := await self._time(rows, self._between(here, {"$lte": at}), step):
            if further == at:  # so many of one moment
                step *= 2
                continue
            newer = await rows.count(self._between(here, {"$lte": at, "$gt": further}))
            marks.append(Milestone(further, marks[-1].before + newer))
            at, step = further, APART
        return marks

    async def _time(self, rows: Rows[R], here: Condition, skip: int) -> datetime | None:
        found = await rows.values(here, self._by, order=self._order, skip=skip, limit=1)
        return found[0][0] if found else None

    def _between(self, here: Condition, times: Condition) -> Condition:
        return {**here, "$and": [{self._by: times}]}
