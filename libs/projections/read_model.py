"""Read models: queries over rows. Each row is stored in the document of its stream or projection key."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.cursor import AsyncCursor

from contracts.messages import ReadModelRow
from libs.documents import Document, Filter

R = TypeVar("R", bound=ReadModelRow)
S = TypeVar("S", bound=ReadModelRow)
Order = Sequence[tuple[str, int]]
Values = tuple[Any, ...]  # values of row fields
WALK_PAGE_SIZE = 500  # rows in memory at a time
ROW_EXISTS = {"$type": "object"}
"""Matches documents that have a row. MongoDB uses a partial index only for queries that contain its filter."""
HAS_TIME = {"$gt": datetime.fromtimestamp(0, UTC)}
"""Matches all rows, by a field that always has a time. MongoDB then counts the rows in the index alone."""

HAS_TEXT = {"$gt": ""}
"""Matches rows that have text in a field. Filter expression of the partial indexes on sparse fields."""


def _prefix_fields(field: str, condition: Filter) -> Document:
    """Prefix the field names of a filter with the row's field, except `_id`: {"a": 1} -> {"job_v1.a": 1}.

    This includes the conditions inside $or, $and and $nor. The value of `$expr` is a function that gets the row's field
    name.
    """
    prefixed: Document = {}
    for name, value in condition.items():
        if name in ("$and", "$or", "$nor"):
            prefixed[name] = [_prefix_fields(field, part) for part in value]
        elif name == "$expr":
            prefixed[name] = value(field)
        elif name == "_id":
            prefixed[name] = value
        else:
            prefixed[f"{field}.{name}"] = value
    return prefixed


@dataclass(frozen=True)
class RowBackfill:
    """How to rebuild a row that a replica of an older release has not written.

    `field` is the field of the stream's document with the row version last written.
    """

    field: str
    version: int
    backfill: Callable[[str], Awaitable[ReadModelRow | None]]  # takes the stream, returns its rebuilt row

    def is_outdated(self, document: Document) -> bool:
        return bool(document.get(self.field, self.version) < self.version)


class ReadModel(Generic[R]):
    """Queries over the rows of a category or projection. Filters and orders use row fields; `_id` is the stream or key.

    Categories share a collection and differ in the row's field and the prefix of their stream names.
    """

    def __init__(
        self,
        collection: AsyncCollection[Document],
        row_type: type[R],
        field: str,
        prefix: str = "",
        backfill: RowBackfill | None = None,
    ) -> None:
        self._backfill = backfill
        self._collection = collection
        self._preloaded: Mapping[str, R] = {}
        self._type = row_type
        self._field = field
        self._fields = {field: 1}
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else ""
        self._prefix_filter = {"_id": {"$gte": prefix, "$lt": end}} if prefix else {}

    def preload(self, rows: Mapping[str, R]) -> "ReadModel[R]":
        """Return the same read model with rows by key that were just written and need not be read."""
        preloaded: ReadModel[R] = copy(self)
        preloaded._preloaded = rows
        return preloaded

    def select(self, row_type: type[S]) -> "ReadModel[S]":
        """Return the same read model restricted to the fields of another row type; only these are loaded."""
        selected: ReadModel[S] = ReadModel(self._collection, row_type, self._field, backfill=self._backfill)
        selected._prefix_filter = self._prefix_filter
        selected._fields = {f"{self._field}.{name}": 1 for name in row_type.model_fields}
        return selected

    async def get(self, key: str) -> R | None:
        if key in self._preloaded:
            return self._preloaded[key]
        version_field = {self._backfill.field: 1} if self._backfill else {}
        document = await self._collection.find_one({"_id": key}, {**self._fields, **version_field})
        if document is None:
            return None
        if self._backfill and self._backfill.is_outdated(document):
            row = await self._backfill.backfill(key)
            return self._type.model_validate(row.model_dump()) if row is not None else None
        return self._type.model_validate(document[self._field]) if document.get(self._field) is not None else None

    async def find_one(self, condition: Filter) -> R | None:
        return next(iter(await self.find(condition, limit=1)), None)

    async def find(self, condition: Filter, order: Order = (), *, skip: int = 0, limit: int = 0) -> list[R]:
        return [row async for row in self.iterate(condition, order, skip=skip, limit=limit)]

    async def iterate(self, condition: Filter, order: Order = (), *, skip: int = 0, limit: int = 0) -> AsyncIterator[R]:
        cursor = self._collection.find(self._to_filter(condition), self._fields, skip=skip, limit=limit)
        async for document in self._sort(cursor, order):
            yield self._type.model_validate(document[self._field])

    async def walk(self, condition: Filter) -> AsyncIterator[R]:
        """Iterate over rows by `id`, in pages, without an open cursor while the caller works on a row.

        Rows with a lower `id` that match the condition later are skipped.
        """
        after: Filter = {}
        while page := await self.find({**condition, **after}, [("id", 1)], limit=WALK_PAGE_SIZE):
            for row in page:
                yield row
            after = {"id": {"$gt": page[-1].id}}  # type: ignore[attr-defined]

    async def find_values(
        self, condition: Filter, *names: str, order: Order = (), skip: int = 0, limit: int = 0
    ) -> list[Values]:
        """Return only the named fields of the rows. With a covering index no documents are read."""
        fields = {"_id": 0, **{f"{self._field}.{name}": 1 for name in names}}
        cursor = self._sort(self._collection.find(self._to_filter(condition), fields, skip=skip, limit=limit), order)
        return [tuple(document[self._field][name] for name in names) async for document in cursor]

    async def latest_per(self, group_field: str, order_field: str, condition: Filter) -> list[R]:
        """Return, per value of `group_field`, the row with the highest `order_field`, if it matches the condition.

        With an index on both fields, the second descending, MongoDB skips from group to group.
        """
        pipeline: list[Document] = [
            {"$sort": {f"{self._field}.{group_field}": 1, f"{self._field}.{order_field}": -1}},
            {"$group": {"_id": f"${self._field}.{group_field}", "latest": {"$first": f"${self._field}"}}},
            {"$match": _prefix_fields("latest", condition)},
        ]
        if group_field in condition:
            pipeline.insert(0, {"$match": _prefix_fields(self._field, {group_field: condition[group_field]})})
        groups = await self._collection.aggregate(pipeline)
        return [self._type.model_validate(group["latest"]) async for group in groups]

    async def first_per_group(
        self, group_field: str, condition: Filter, *names: str, order: Order = ()
    ) -> list[Values]:
        """Return, per value of `group_field`, this value and the named fields of the first row that matches.

        With an index on the condition, `group_field` and the order, MongoDB skips from group to group. If the index
        contains all names, no documents are read.
        """
        full_order = {f"{self._field}.{name}": direction for name, direction in ((group_field, 1), *order)}
        first = {name: {"$first": f"${self._field}.{name}"} for name in names}
        pipeline: list[Document] = [
            {"$match": _prefix_fields(self._field, condition)},
            {"$sort": full_order},
            {"$group": {"_id": f"${self._field}.{group_field}", **first}},
        ]
        groups = await self._collection.aggregate(pipeline)
        return [(group["_id"], *(group[name] for name in names)) async for group in groups]

    async def count(self, condition: Filter, *, limit: int = 0) -> int:
        """Count the rows, up to `limit` if given."""
        count = self._collection.count_documents
        return await (count(self._to_filter(condition), limit=limit) if limit else count(self._to_filter(condition)))

    def _sort(self, cursor: AsyncCursor[Document], order: Order) -> AsyncCursor[Document]:
        return cursor.sort([(f"{self._field}.{name}", direction) for name, direction in order]) if order else cursor

    def _to_filter(self, condition: Filter) -> Document:
        """Return the filter for documents. Only documents of projections always have a row."""
        if HAS_TIME in condition.values() or HAS_TEXT in condition.values() or not self._prefix_filter:
            return _prefix_fields(self._field, condition)
        return {
            self._field: ROW_EXISTS,
            **(_prefix_fields(self._field, condition) if condition else self._prefix_filter),
        }
