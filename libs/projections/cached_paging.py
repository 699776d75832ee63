"""Long lists by time, newest first: neither the total nor a late page walks over all that comes before it.

What is counted once is remembered for a minute as milestones: times in the list with the number of rows before them.
New rows come before the first and are counted each time; a row that vanishes behind it still counts for so long.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

from contracts.messages import ReadModelRow
from contracts.paging import SliceQuery
from libs.projections.paging import skip_and_limit
from libs.projections.read_model import HAS_TIME, ReadModel

EARLIEST_TIME = HAS_TIME["$gt"]
ROWS_BETWEEN_ANCHORS = 5_000  # rows; a list that is not longer has none
CACHE_TTL_SECONDS = 60.0  # seconds
MAX_CACHED_LISTS = 500  # lists that are remembered

R = TypeVar("R", bound=ReadModelRow)
Condition = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PageAnchor:
    at: datetime
    newer_count: int  # rows from the first milestone on that are newer


@dataclass(frozen=True, slots=True)
class PageAnchors:
    """The first is the newest row that has come to rest."""

    anchors: tuple[PageAnchor, ...]
    count: int  # of rows from the first on
    expires_at: float  # of the monotonic clock


class CountedList(Generic[R]):
    """Lists of the rows of one view, in the order of a time (of the partial indexes: see DATED), then of their ids."""

    def __init__(self, order_field: str, unsettled_time: datetime) -> None:
        """`moving`: the time of the rows whose place is not settled yet; they stand before all others."""
        self._order_field = order_field
        self._unsettled_time = unsettled_time
        self._order = ((order_field, -1), ("id", -1))
        self._cache: dict[Any, PageAnchors] = {}

    async def fetch_slice(
        self, rows: ReadModel[R], key: Any, condition: Condition, query: SliceQuery
    ) -> tuple[list[R], int]:
        """A page, and how many rows there are in all. Lists of the same key are the same."""
        skip, limit = skip_and_limit(query)
        here: Condition = {**condition, self._order_field: HAS_TIME}
        known = self._cache.get(key)
        if known is None:
            found = (
                await rows.find(here, self._order, skip=skip, limit=limit + 1) if skip <= ROWS_BETWEEN_ANCHORS else []
            )
            if len(found) <= limit and (found or not skip):
                return found[:limit], skip + len(found)
            total = await rows.count(here, limit=ROWS_BETWEEN_ANCHORS + 1)
            if total <= ROWS_BETWEEN_ANCHORS:
                return found[:limit], total
        if known is None or time.monotonic() > known.expires_at:
            known = await self._refresh(rows, key, here)
        new = await rows.count(self._within_times(here, {"$gt": known.anchors[0].at}))
        total = new + known.count
        passed = [mark for mark in known.anchors if new + mark.newer_count <= skip]
        if passed:
            here, skip = self._within_times(here, {"$lte": passed[-1].at}), skip - new - passed[-1].newer_count
        return await rows.find(here, self._order, skip=skip, limit=limit), total

    async def _refresh(self, rows: ReadModel[R], key: Any, condition: Condition) -> PageAnchors:
        if former := self._cache.pop(key, None):  # whoever comes meanwhile finds these
            self._cache[key] = replace(former, expires_at=time.monotonic() + CACHE_TTL_SECONDS)
        marks = await self._build_anchors(rows, condition)
        count = marks[-1].newer_count + await rows.count(self._within_times(condition, {"$lte": marks[-1].at}))
        while len(self._cache) >= MAX_CACHED_LISTS:
            self._cache.pop(next(iter(self._cache)))
        self._cache[key] = PageAnchors(tuple(marks), count, time.monotonic() + CACHE_TTL_SECONDS)
        return self._cache[key]

    async def _build_anchors(self, rows: ReadModel[R], condition: Condition) -> list[PageAnchor]:
        at = (
            await self._find_time(rows, self._within_times(condition, {"$lt": self._unsettled_time}), 0)
            or EARLIEST_TIME
        )
        marks, step = [PageAnchor(at, 0)], ROWS_BETWEEN_ANCHORS
        while further := await self._find_time(rows, self._within_times(condition, {"$lte": at}), step):
            if further == at:  # so many of one moment
                step *= 2
                continue
            newer = await rows.count(self._within_times(condition, {"$lte": at, "$gt": further}))
            marks.append(PageAnchor(further, marks[-1].newer_count + newer))
            at, step = further, ROWS_BETWEEN_ANCHORS
        return marks

    async def _find_time(self, rows: ReadModel[R], condition: Condition, skip: int) -> datetime | None:
        found = await rows.find_values(condition, self._order_field, order=self._order, skip=skip, limit=1)
        return found[0][0] if found else None

    def _within_times(self, condition: Condition, times: Condition) -> Condition:
        return {**condition, "$and": [{self._order_field: times}]}
