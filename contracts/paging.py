"""The request for a page of a list, with or without filters and a chosen order.

Lists are read by key: a page starts after the last row of the previous one, so that rows which are added or deleted
between two requests neither repeat nor hide others.
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from contracts.messages import Message, Query

Operator = Literal[
    "eq",
    "ne",
    "sup",
    "inf",
    "supeq",
    "infeq",
    "contains",
    "necontains",
    "startwith",
    "endwith",
    "jsoncontains",
    "nejsoncontains",
    "distancesup",
    "distanceinf",
]
MAX_ROWS = 200_000  # maximum `limit` of a PageRequest
MAX_FILTER_VALUES = 100  # maximum number of values in all filters of a query together


class Filter(Message):
    """A condition on a column. Several values are combined with OR. The value "null" with eq or ne means NULL."""

    column: str
    operator: Operator
    values: tuple[str, ...]


class PageRequest(Query):
    """A request for rows of a list. Answer: Page, with fewer rows than `limit` if they do not fit into a message.

    Each list rejects an `after` that is not a position in it with PAGINATION_CURSOR_INVALID.
    """

    after: str = ""  # `next` of the previous page; empty: start with the first row
    skip: int = Field(default=0, ge=0, le=2**63 - 1)  # number of rows to skip; skipping many takes long
    limit: int = Field(default=MAX_ROWS, ge=1, le=MAX_ROWS)
    counted: bool = False  # whether to count all rows of the list

    @model_validator(mode="before")
    @classmethod
    def _read_page_number(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """Read the page numbers that gateways up to 0.2.0 send: from 1 with `per_page`, from 0 with `size`."""
        match fields:
            case {"page": int(number), "per_page": int(size), **others}:
                first = number - 1
            case {"page": int(first), "size": int(size), **others}:
                pass
            case _:
                return fields
        size = min(size, MAX_ROWS) if size > 0 else MAX_ROWS
        return {"counted": True, **others, "skip": max(first, 0) * size, "limit": size}


class FilteredPageRequest(PageRequest):
    """A request for the rows of a list that match filters, in a chosen order. Unknown columns are ignored."""

    filters: tuple[Filter, ...] = ()
    any_filter: bool = False  # True: filters are combined with OR instead of AND
    sort_by: str = "id"  # "NONE": oldest first; `descending` is ignored
    descending: bool = True
