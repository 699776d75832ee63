"""Base classes of paged queries: filters, order and page."""

from typing import Literal

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
MAX_FILTER_VALUES = 100  # in all filters of a query together


class Filter(Message):
    """A condition on a column. Several values are combined with OR. The value "null" with eq or ne means NULL."""

    column: str
    operator: Operator
    values: tuple[str, ...]


class PageQuery(Query):
    """A query for filtered rows in an order. Unknown columns in filters and order are ignored."""

    filters: tuple[Filter, ...] = ()
    any_filter: bool = False  # True: filters are combined with OR instead of AND
    sort_by: str = "id"  # NONE: in order of creation
    descending: bool = True
    page: int = 1  # from 1
    per_page: int = 20
    counted: bool = True  # False: the total is 0


class SliceQuery(Query):
    """A query for rows in a fixed order."""

    page: int = 0  # from 0
    size: int = 10
