"""Pages of lists, read by key: a page starts after the last row of the previous one.

Every order must end with a unique field. Rows that are added or deleted between two pages neither repeat nor hide
others, and with an index on the fields of the order every page costs the same.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Generic, TypeVar

import bson
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from pydantic_core import to_json

from contracts.errors import RequestRejected
from contracts.messages import Message, Page, Payload, ReadModelRow
from contracts.paging import FilteredPageRequest, PageRequest
from libs.documents import Document, Filter
from libs.projections.filters import NO_ROWS, Columns, build_conditions, build_order, combine_conditions, match_all
from libs.projections.read_model import Order, ReadModel, Values
from libs.service.declaration import Answer, Context

R = TypeVar("R", bound=ReadModelRow)
P = TypeVar("P", bound=PageRequest)
T = TypeVar("T")

MAX_PAGE_BYTES = 7 * 1024 * 1024  # JSON of the rows; a message has at most 8 MiB
BY_ID: Order = (("id", 1),)
CURSOR_CODEC: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, tzinfo=UTC)


def encode_cursor(values: Values) -> str:
    """Return the order values of a row as text that needs no escaping in a URL."""
    return urlsafe_b64encode(bson.encode({"after": list(values)})).decode().rstrip("=")


def decode_cursor(cursor: str, length: int) -> Values:
    """Return the `length` values in a cursor. Raises RequestRejected with PAGINATION_CURSOR_INVALID."""
    try:
        values = bson.decode(urlsafe_b64decode(cursor + "=="), CURSOR_CODEC)["after"]
        # a client may send anything; a document would be read as an operator of the database
        if len(values) == length and all(isinstance(value, bool | int | str | datetime | None) for value in values):
            return tuple(values)
    except (ValueError, KeyError, TypeError, BSONError):
        pass
    raise RequestRejected("PAGINATION_CURSOR_INVALID")


def rows_after(order: Order, values: Values) -> list[Document]:
    """Return conditions for the rows after the row with these values. NULL precedes all values, as in SQL.

    The condition on the first field is redundant: it tells MongoDB which range of the index to scan.
    """
    branches: list[Document] = []
    equal: Document = {}
    for (field, direction), value in zip(order, values, strict=True):
        beyond = _beyond(value, direction)
        branches += [{**equal, field: beyond}] if beyond else []
        equal[field] = value
    first, direction = order[0]
    if values[0] is None:
        return [{"$or": branches or [NO_ROWS]}]
    # NULL, which no comparison matches, precedes the value
    at_least = {"$not": {"$gt": values[0]}} if direction < 0 else {"$gte": values[0]}
    return [{first: at_least}, {"$or": branches}]


def _beyond(value: object, direction: int) -> Document:
    """Return the condition for the values after `value`, or an empty document if no value comes after it."""
    if direction < 0:
        return {"$not": {"$gte": value}} if value is not None else {}
    return {"$gt": value} if value is not None else {"$ne": None}


@dataclass(frozen=True, slots=True)
class RowPage(Generic[T]):
    """The rows of a page, before they are converted to the views in the answer."""

    rows: Sequence[T]
    key: Callable[[T], Values]  # the order values of a row
    has_more: bool
    total: int = 0

    def render(self, views: Iterable[Message | Payload]) -> Page:
        """Return the page with one view per row. Rows that do not fit into a message are left to the next page."""
        payloads: list[Payload] = []
        size = 0
        for view in views:
            payload = view.model_dump(mode="json") if isinstance(view, Message) else view
            size += len(to_json(payload))
            if payloads and size > MAX_PAGE_BYTES:
                break
            payloads.append(payload)
        has_more = payloads and (self.has_more or len(payloads) < len(self.rows))
        after = encode_cursor(self.key(self.rows[len(payloads) - 1])) if has_more else None
        return Page(rows=tuple(payloads), total=self.total, next=after)


async def fetch_rows(
    rows: ReadModel[R], request: PageRequest, order: Order, condition: Filter | None = None
) -> RowPage[R]:
    """Read a page of the rows that match the condition. Raises RequestRejected with PAGINATION_CURSOR_INVALID.

    The total is 0 unless it is requested. The database counts the rows only if the total does not follow from the page.
    """
    matching = condition or {}
    wanted = matching
    if request.after:
        after = rows_after(order, decode_cursor(request.after, len(order)))
        wanted = {**matching, "$and": [*matching.get("$and", ()), *after]}
    found = await rows.find(wanted, order, skip=request.skip, limit=request.limit + 1)
    has_more = len(found) > request.limit
    total = 0
    if request.counted:
        ends_here = not has_more and not request.after and (found or not request.skip)
        total = request.skip + len(found) if ends_here else await rows.count(matching)
    return RowPage(found[: request.limit], order_values(order), has_more, total)


def order_values(order: Order) -> Callable[[R], Values]:
    return lambda row: tuple(getattr(row, field) for field, _ in order)


async def fetch_page(
    rows: ReadModel[R],
    request: PageRequest,
    to_view: Callable[[R], Message | Payload],
    *,
    order: Order = BY_ID,
    condition: Filter | None = None,
) -> Page:
    """Return the requested page, with a view per row. Default: all rows, ordered by id."""
    page = await fetch_rows(rows, request, order, condition)
    return page.render(map(to_view, page.rows))


async def fetch_filtered_page(
    rows: ReadModel[R],
    request: FilteredPageRequest,
    columns: Columns,
    to_view: Callable[[R], Message | Payload],
    condition: Filter | None = None,
) -> Page:
    """Return a page of the rows that match the request's filters and the condition, in the request's order."""
    condition = match_all(combine_conditions(request, build_conditions(request, columns)), condition or {})
    return await fetch_page(rows, request, to_view, order=build_order(request, columns), condition=condition)


def select_rows(
    items: Iterable[T], request: PageRequest, key: Callable[[T], Values], *, descending: bool = False
) -> RowPage[T]:
    """Return a page of items that are in memory, ordered by `key`, whose values are unique.

    Raises RequestRejected with PAGINATION_CURSOR_INVALID.
    """
    ordered = sorted(items, key=key, reverse=descending)
    total = len(ordered) if request.counted else 0
    if request.after:
        last = decode_cursor(request.after, len(key(ordered[0]))) if ordered else ()
        try:
            ordered = [item for item in ordered if (key(item) < last if descending else key(item) > last)]
        except TypeError:
            raise RequestRejected("PAGINATION_CURSOR_INVALID") from None
    end = request.skip + request.limit
    return RowPage(ordered[request.skip : end], key, len(ordered) > end, total)


def formerly(
    name: str, answer_page: Callable[[Context, P], Awaitable[Page]]
) -> Callable[[Context, P], Awaitable[Answer]]:
    """Return a handler that also answers gateways up to 0.2.0, which request whole lists without a limit.

    They expect an object with the rows under `name`, or a plain array if `name` is empty.
    """

    @wraps(answer_page)
    async def answer(ctx: Context, request: P) -> Answer:
        page = await answer_page(ctx, request)
        if "limit" in request.model_fields_set:
            return page
        return {name: page.rows} if name else page.rows

    return answer
