"""Long lists ordered by time, newest first, whose numbered pages are found without scanning all rows before them.

Counts are cached for a minute as anchors: times in the list with the number of newer rows. Rows newer than the first
anchor are counted on each request. An older row that is deleted stays in the counts until the cache expires.
"""

import time
from collections.abc import Hashable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Generic, TypeVar

from cachetools import LRUCache

from contracts.messages import ReadModelRow
from contracts.paging import PageRequest
from libs.documents import Filter
from libs.projections.paging import RowPage, fetch_rows, order_values
from libs.projections.read_model import HAS_TIME, ReadModel
from libs.tasks import SharedTasks

EARLIEST_TIME = HAS_TIME["$gt"]
ROWS_BETWEEN_ANCHORS = 5_000  # shorter lists have no anchors
CACHE_TTL_SECONDS = 60.0
MAX_CACHED_LISTS = 500  # per process

R = TypeVar("R", bound=ReadModelRow)


@dataclass(frozen=True, slots=True)
class PageAnchor:
    """A time in a list, with the number of rows between the first anchor and this time."""

    at: datetime
    newer_count: int  # rows up to the first anchor's time and after `at`


@dataclass(frozen=True, slots=True)
class PageAnchors:
    """Cached anchors of a list. The first anchor is at the newest row whose time is final."""

    anchors: tuple[PageAnchor, ...]
    count: int  # rows from the first anchor to the end
    expires_at: float  # monotonic clock


class CountedList(Generic[R]):
    """Lists of a read model's rows, newest first by a field that always has a time (see HAS_TIME), then by id."""

    def __init__(self, order_field: str, unsettled_time: datetime) -> None:
        """`unsettled_time`: the time of rows whose final time is not known yet, such as waiting jobs.

        These rows come first.
        """
        self._order_field = order_field
        self._unsettled_time = unsettled_time
        self._order = ((order_field, -1), ("id", -1))
        self._cache: LRUCache[Hashable, PageAnchors] = LRUCache(MAX_CACHED_LISTS)
        self._refreshes = SharedTasks[Hashable, PageAnchors]()

    async def fetch_rows(
        self, rows: ReadModel[R], key: Hashable, condition: Filter, request: PageRequest
    ) -> RowPage[R]:
        """Return a page. `key` identifies the list in the cache.

        Numbered pages always have the total; a page after a known row has it only if the request asks for it.
        """
        skip, limit = request.skip, request.limit
        condition = {**condition, self._order_field: HAS_TIME}
        cached = self._cache.get(key)
        if request.after:  # a page after a known row needs no anchors: the database finds the row in the index
            return await fetch_rows(rows, request, self._order, condition)
        if cached is None:
            # a short list, or an early page of a long one, needs no anchors
            is_near = skip <= ROWS_BETWEEN_ANCHORS
            found = await rows.find(condition, self._order, skip=skip, limit=limit + 1) if is_near else []
            if is_near and len(found) <= limit and (found or not skip):
                return self._to_page(found, limit, skip + len(found))
            total = await rows.count(condition, limit=ROWS_BETWEEN_ANCHORS + 1)
            if total <= ROWS_BETWEEN_ANCHORS:
                return self._to_page(found, limit, total)
        if cached is None or time.monotonic() > cached.expires_at:
            cached = await self._refreshes.wait(key, partial(self._refresh, rows, key, condition))
        new_count = await rows.count(self._within_times(condition, {"$gt": cached.anchors[0].at}))
        total = new_count + cached.count
        passed = [anchor for anchor in cached.anchors if new_count + anchor.newer_count <= skip]
        if passed:
            condition = self._within_times(condition, {"$lte": passed[-1].at})
            skip -= new_count + passed[-1].newer_count
        found = await rows.find(condition, self._order, skip=skip, limit=limit + 1)
        return self._to_page(found, limit, total)

    def _to_page(self, found: list[R], limit: int, total: int) -> RowPage[R]:
        return RowPage(found[:limit], order_values(self._order), len(found) > limit, total)

    async def _refresh(self, rows: ReadModel[R], key: Hashable, condition: Filter) -> PageAnchors:
        if expired := self._cache.get(key):
            # concurrent requests use the expired anchors until the refresh is done
            self._cache[key] = replace(expired, expires_at=time.monotonic() + CACHE_TTL_SECONDS)
        anchors = await self._build_anchors(rows, condition)
        last = anchors[-1]
        count = last.newer_count + await rows.count(self._within_times(condition, {"$lte": last.at}))
        refreshed = PageAnchors(tuple(anchors), count, time.monotonic() + CACHE_TTL_SECONDS)
        self._cache[key] = refreshed
        return refreshed

    async def _build_anchors(self, rows: ReadModel[R], condition: Filter) -> list[PageAnchor]:
        settled = self._within_times(condition, {"$lt": self._unsettled_time})
        at = await self._find_time(rows, settled, 0) or EARLIEST_TIME
        anchors, step = [PageAnchor(at, 0)], ROWS_BETWEEN_ANCHORS
        while older := await self._find_time(rows, self._within_times(condition, {"$lte": at}), step):
            if older == at:  # so many rows have the same time that the step ends at it again
                step *= 2
                continue
            between = await rows.count(self._within_times(condition, {"$lte": at, "$gt": older}))
            anchors.append(PageAnchor(older, anchors[-1].newer_count + between))
            at, step = older, ROWS_BETWEEN_ANCHORS
        return anchors

    async def _find_time(self, rows: ReadModel[R], condition: Filter, skip: int) -> datetime | None:
        found = await rows.find_values(condition, self._order_field, order=self._order, skip=skip, limit=1)
        return found[0][0] if found else None

    def _within_times(self, condition: Filter, times: Filter) -> Filter:
        return {**condition, "$and": [{self._order_field: times}]}
