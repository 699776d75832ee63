"""How a page of a list is asked for: filters, order and bounds."""

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
MAX_FILTER_VALUES = 100  # of all filters together


class Filter(Message):
    """One column against one or more values; several values mean OR among them. The value "null" with eq/ne is NULL."""

    column: str
    operator: Operator
    values: tuple[str, ...]


class PageQuery(Query):
    """Rows in order, filtered. Unknown columns in filters and order are ignored."""

    filters: tuple[Filter, ...] = ()
    any_filter: bool = False  # True: a row that satisfies one filter is enough
    sort_by: str = "id"  # NONE: as they were made
    descending: bool = True
    page: int = 1  # from 1
    per_page: int = 20
    counted: bool = True  # False: the total is left at 0


class SliceQuery(Query):
    """Rows in the one order that the list has."""

    page: int = 0  # from 0
    size: int = 10
