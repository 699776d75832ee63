"""Free Commit's pages: filters and order in the query, an envelope around the rows."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, get_args
from urllib.parse import parse_qsl

from pydantic import Field, TypeAdapter, create_model

from contracts.errors import RequestRejected
from contracts.messages import Message, Page
from contracts.paging import MAX_FILTER_VALUES, Filter, Operator, PageQuery
from gateway.context import RequestContext
from gateway.framework.serializers import Shape, Writer

FILTER_PARAMETER = re.compile(r"([A-Za-z0-9_]+)\[([a-z]+)\]")
OPERATORS = frozenset(get_args(Operator))
DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 100_000
MAX_PAGE_NUMBER = 2**31

FILTERS_PARAMETER = "{column}[{operator}]"
PARAMETERS = {
    "page": "the page, from 1",
    "per_page": "rows per page, 20 unless told; also `perPage`",
    "sort_by": "a column, or `NONE`; also `sortBy`",
    "order_by": "`ASC` or `DESC`; also `orderBy`",
    "mode": "`include`: a row that satisfies one filter is enough",
    "dynamic_counting": "`true`: do not count, suppose that there is one more page",
    FILTERS_PARAMETER: f"a filter: `column[operator]=value`; several values mean OR, {MAX_FILTER_VALUES} in all; "
    "`null` is none",
}


ERROR_CODES = tuple(f"PAGINATION_{one}_INVALID" for one in ("PAGE", "PER_PAGE", "OPERATOR", "FILTERS"))


class Envelope(Shape):
    current_page: int
    from_: int = Field(alias="from")
    to: int
    per_page: int
    total: int
    last_page: int


def read_page_fields(asked: RequestContext) -> Mapping[str, Any]:
    return parse_page_fields(asked.query)


@lru_cache(maxsize=256)  # the same pages are asked for again and again
def parse_page_fields(query: bytes) -> Mapping[str, Any]:
    """The fields of a PageQuery; unknown columns and orders are ignored, as its clients expect."""
    pairs = parse_qsl(query.decode("latin-1"), encoding="utf-8")
    given = dict(pairs)
    return {
        "page": min(_parse_number(given, 1, "page"), MAX_PAGE_NUMBER),
        "per_page": min(_parse_number(given, DEFAULT_PAGE_SIZE, "per_page", "perPage"), MAX_PAGE_SIZE),
        "sort_by": _first(given, "id", "sort_by", "sortBy"),
        "descending": _first(given, "DESC", "order_by", "orderBy").upper() != "ASC",
        "any_filter": given.get("mode", "") == "include",
        "counted": given.get("dynamic_counting", "").lower() != "true",
        "filters": tuple(_parse_filters(pairs)),
    }


def show_all_by_default(asked: RequestContext) -> dict[str, Any]:
    """Unless a size of pages was asked for, the first page holds everything."""
    given = dict(parse_qsl(asked.query.decode("latin-1")))
    return {} if given.keys() & {"per_page", "perPage"} else {"per_page": 0}


def _first(given: dict[str, str], default: str, *names: str) -> str:
    return next((given[name] for name in names if name in given), default)


def _parse_number(given: dict[str, str], default: int, *names: str) -> int:
    value = _first(given, str(default), *names)
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise RequestRejected(f"PAGINATION_{names[0].upper()}_INVALID")
    return max(int(value), 1)


def _parse_filters(pairs: Iterable[tuple[str, str]]) -> Iterable[Filter]:
    values: dict[tuple[str, str], list[str]] = {}
    for name, value in pairs:
        if found := FILTER_PARAMETER.fullmatch(name):
            values.setdefault((found[1], found[2]), []).append(value)
    if sum(map(len, values.values())) > MAX_FILTER_VALUES:
        raise RequestRejected("PAGINATION_FILTERS_INVALID")
    for (column, operator), one in values.items():
        if operator not in OPERATORS:
            raise RequestRejected("PAGINATION_OPERATOR_INVALID", f"There is no operator {operator}.")
        yield Filter.model_validate({"column": column, "operator": operator, "values": tuple(one)})


def create_page_writer(row: type[Shape]) -> Writer:
    """The envelope around rows of this shape."""
    data: Any = (tuple[row, ...], ...)  # type: ignore[valid-type]
    envelope = create_model(f"{row.__name__}Page", __base__=Envelope, data=data)
    adapter: TypeAdapter[Any] = TypeAdapter(envelope)

    def write(answer: bytes, _asked: RequestContext, message: Message) -> bytes:
        assert isinstance(message, PageQuery)  # noqa: S101  only pages are written so
        page = Page.model_validate_json(answer)
        size = message.per_page or max(page.total, DEFAULT_PAGE_SIZE)
        total = page.total if message.counted else size * (message.page + 1)
        found = {
            "current_page": message.page,
            "from": size * (message.page - 1) + 1,
            "to": min(size * message.page, total),
            "per_page": size,
            "total": total,
            "last_page": max(1, -(-total // size)),
            "data": page.rows,
        }
        return adapter.dump_json(adapter.validate_python(found), by_alias=True)

    return Writer(envelope, write)
