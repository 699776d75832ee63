"""Reading view rows: one document per stream, the row under a field named after its view and version."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from pymongo.asynchronous.collection import AsyncCollection

from contracts.messages import ReadModelRow

R = TypeVar("R", bound=ReadModelRow)
S = TypeVar("S", bound=ReadModelRow)
Filter = Mapping[str, Any]
Order = Sequence[tuple[str, int]]
WALK_PAGE_SIZE = 500  # rows of a walk that are in memory
ROW_EXISTS = {"$type": "object"}
"""The row is there. The very words of the partial indexes, or MongoDB would not use these."""
HAS_TIME = {"$gt": datetime.fromtimestamp(0, UTC)}
"""The row is there, said of a field that has a time in every row: MongoDB sees it in the index, without the row."""

HAS_TEXT = {"$gt": ""}
"""The row has a text in this field: the words of the partial indexes that hold only rows which have one."""


def _prefix_fields(field: str, condition: Any) -> dict[str, Any]:
    """Move a filter on row fields below the row's own field: {"a": 1} -> {"job_v1.a": 1}, also inside $or and $and.

    An expression is a function of where the row lies.
    """
    moved: dict[str, Any] = {}
    for name, value in condition.items():
        if name in ("$and", "$or", "$nor"):
            moved[name] = [_prefix_fields(field, one) for one in value]
        elif name == "$expr":
            moved[name] = value(field)
        elif name == "_id":
            moved[name] = value
        else:
            moved[f"{field}.{name}"] = value
    return moved


@dataclass(frozen=True)
class RowBackfill:
    """How to build a row that a replica of an older release left behind. Its head says which version was written."""

    field: str
    version: int
    backfill: Callable[[str], Awaitable[ReadModelRow | None]]  # of this stream; returns the row as the log makes it now

    def is_outdated(self, head: Mapping[str, Any]) -> bool:
        return bool(head.get(self.field, self.version) < self.version)


class ReadModel(Generic[R]):
    """Queries over the rows of one view; filters and orders name row fields, `_id` is the stream (or key).

    Rows of several categories share a collection, told apart by their field and the prefix of their streams.
    """

    def __init__(
        self,
        collection: AsyncCollection[dict[str, Any]],
        row_type: type[R],
        field: str,
        prefix: str = "",
        preloaded: Mapping[str, R] | None = None,
        backfill: RowBackfill | None = None,
    ) -> None:
        """`at_hand`: rows that were written a moment ago and need not be read."""
        self._backfill = backfill
        self._collection = collection
        self._preloaded = preloaded or {}
        self._type = row_type
        self._field = field
        self._fields = {field: 1}
        self._prefix_filter = {"_id": {"$gte": prefix, "$lt": prefix[:-1] + chr(ord(prefix[-1]) + 1)}} if prefix else {}

    def select(self, row_type: type[S]) -> "ReadModel[S]":
        """The same rows, as far as this type shows them: the rest is neither sent nor read."""
        some: ReadModel[S] = ReadModel(self._collection, row_type, self._field, backfill=self._backfill)
        some._prefix_filter = self._prefix_filter
        some._fields = {f"{self._field}.{name}": 1 for name in row_type.model_fields}
        return some

    async def get(self, key: str) -> R | None:
        if key in self._preloaded:
            return self._preloaded[key]
        written = {self._backfill.field: 1} if self._backfill else {}
        found = await self._collection.find_one({"_id": key}, {**self._fields, **written})
        if found and self._backfill and self._backfill.is_outdated(found):
            row = await self._backfill.backfill(key)
            return self._type.model_validate(row.model_dump()) if row is not None else None
        return self._type.model_validate(found[self._field]) if found and found.get(self._field) is not None else None

    async def find_one(self, condition: Filter) -> R | None:
        return next(iter(await self.find(condition, limit=1)), None)

    async def find(self, condition: Filter, order: Order = (), *, skip: int = 0, limit: int = 0) -> list[R]:
        return [row async for row in self.iterate(condition, order, skip=skip, limit=limit)]

    async def iterate(self, condition: Filter, order: Order = (), *, skip: int = 0, limit: int = 0) -> AsyncIterator[R]:
        cursor = self._collection.find(self._to_filter(condition), self._fields, skip=skip, limit=limit)
        async for found in self._sort(cursor, order):
            yield self._type.model_validate(found[self._field])

    async def walk(self, condition: Filter) -> AsyncIterator[R]:
        """All rows with an `id`, in pages: no cursor is open while the caller works on a row, however long that takes.

        Rows that meet the condition later with a lower `id` are not seen.
        """
        after: Filter = {}
        while page := await self.find({**condition, **after}, [("id", 1)], limit=WALK_PAGE_SIZE):
            for row in page:
                yield row
            after = {"id": {"$gt": page[-1].id}}  # type: ignore[attr-defined]

    async def find_values(
        self, condition: Filter, *names: str, order: Order = (), skip: int = 0, limit: int = 0
    ) -> list[tuple[Any, ...]]:
        """These fields alone: rows need not be read whole, or not at all where an index holds what is asked."""
        shown = {"_id": 0, **{f"{self._field}.{name}": 1 for name in names}}
        cursor = self._sort(self._collection.find(self._to_filter(condition), shown, skip=skip, limit=limit), order)
        return [tuple(found[self._field][name] for name in names) async for found in cursor]

    async def latest_per(self, group_field: str, order_field: str, condition: Filter) -> list[R]:
        """Of the rows of the same `of` the one with the highest `by`, if it satisfies the condition.

        An index on both, `by` descending, is read in leaps, from each `of` to the next.
        """
        pipeline: list[dict[str, Any]] = [
            {"$sort": {f"{self._field}.{group_field}": 1, f"{self._field}.{order_field}": -1}},
            {"$group": {"_id": f"${self._field}.{group_field}", "latest": {"$first": f"${self._field}"}}},
            {"$match": _prefix_fields("latest", condition)},
        ]
        if group_field in condition:
            pipeline.insert(0, {"$match": _prefix_fields(self._field, {group_field: condition[group_field]})})
        return [self._type.model_validate(one["latest"]) async for one in await self._collection.aggregate(pipeline)]

    async def first_per_group(
        self, group_field: str, condition: Filter, *names: str, order: Order = ()
    ) -> list[tuple[Any, ...]]:
        """Of the rows of the same `of` the first in this order: its `of`, and of the others these fields.

        An index on the fields of the condition, on `of` and on the order is read in leaps, from each `of` to the next,
        and no row is read if it holds all names.
        """
        ordered = {f"{self._field}.{name}": direction for name, direction in ((group_field, 1), *order)}
        pipeline = [
            {"$match": _prefix_fields(self._field, condition)},
            {"$sort": ordered},
            {
                "$group": {
                    "_id": f"${self._field}.{group_field}",
                    **{n: {"$first": f"${self._field}.{n}"} for n in names},
                }
            },
        ]
        found = await self._collection.aggregate(pipeline)
        return [(one["_id"], *(one[name] for name in names)) async for one in found]

    async def count(self, condition: Filter, *, limit: int = 0) -> int:
        """Not further than the limit, if there is one."""
        counted = self._collection.count_documents
        return await (
            counted(self._to_filter(condition), limit=limit) if limit else counted(self._to_filter(condition))
        )

    def _sort(self, cursor: Any, order: Order) -> Any:
        return cursor.sort([(f"{self._field}.{name}", direction) for name, direction in order]) if order else cursor

    def _to_filter(self, condition: Filter) -> dict[str, Any]:
        """Deleted streams keep their head but have no row; a followed view holds nothing but rows."""
        if HAS_TIME in condition.values() or HAS_TEXT in condition.values() or not self._prefix_filter:
            return _prefix_fields(self._field, condition)
        return {
            self._field: ROW_EXISTS,
            **(_prefix_fields(self._field, condition) if condition else self._prefix_filter),
        }
