"""Free Commit's paging: filters and order in the query, an envelope around the rows."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, get_args
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import Field, TypeAdapter, create_model

from contracts.errors import RequestRejected
from contracts.messages import Message, Page
from contracts.paging import MAX_FILTER_VALUES, MAX_ROWS, Filter, FilteredPageRequest, Operator
from gateway.forwarding.serializers import ResponseContext, ResponseModel, Serializer

FILTER_PARAMETER = re.compile(r"([A-Za-z0-9_]+)\[([a-z]+)\]")
OPERATORS = frozenset(get_args(Operator))
DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 100_000
MAX_PAGE_NUMBER = 2**31

ERROR_CODES = tuple(f"PAGINATION_{name}_INVALID" for name in ("PAGE", "PER_PAGE", "OPERATOR", "FILTERS"))


class Envelope(ResponseModel):
    current_page: int = Field(description="page number, from 1")
    from_: int = Field(alias="from", description="position of the page's first row in the list, from 1")
    to: int = Field(description="position of the page's last row in the list")
    per_page: int = Field(description="rows per page")
    total: int = Field(description="total number of rows")
    last_page: int = Field(description="number of pages, at least 1")


async def read_page_fields(request: Request) -> Mapping[str, Any]:
    return parse_page_fields(request.scope["query_string"])


async def read_unlimited_page_fields(request: Request) -> Mapping[str, Any]:
    """Return the fields of a page request. All rows are on one page, unless the query string sets a page size."""
    fields = parse_page_fields(request.scope["query_string"])
    if request.query_params.keys() & {"per_page", "perPage"}:
        return fields
    return {**fields, "skip": fields["skip"] // fields["limit"] * MAX_ROWS, "limit": MAX_ROWS}


@lru_cache(maxsize=256)  # clients poll with the same query strings
def parse_page_fields(query: bytes) -> Mapping[str, Any]:
    """Return the fields of a FilteredPageRequest from a query string.

    As Free Commit's clients expect, an unknown order means descending, and services ignore unknown columns. Raises one
    of ERROR_CODES.
    """
    pairs = parse_qsl(query.decode("latin-1"), encoding="utf-8")
    parameters = dict(pairs)
    number = min(_parse_number(parameters, 1, "page"), MAX_PAGE_NUMBER)
    size = min(_parse_number(parameters, DEFAULT_PAGE_SIZE, "per_page", "perPage"), MAX_PAGE_SIZE)
    return {
        "skip": (number - 1) * size,
        "limit": size,
        "sort_by": _first(parameters, "id", "sort_by", "sortBy"),
        "descending": _first(parameters, "DESC", "order_by", "orderBy").upper() != "ASC",
        "any_filter": parameters.get("mode", "") == "include",
        "counted": parameters.get("dynamic_counting", "").lower() != "true",
        "filters": tuple(_parse_filters(pairs)),
    }


def _first(parameters: dict[str, str], default: str, *names: str) -> str:
    return next((parameters[name] for name in names if name in parameters), default)


def _parse_number(parameters: dict[str, str], default: int, *names: str) -> int:
    value = _first(parameters, str(default), *names)
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise RequestRejected(f"PAGINATION_{names[0].upper()}_INVALID")
    return max(int(value), 1)


def _parse_filters(pairs: Iterable[tuple[str, str]]) -> Iterable[Filter]:
    values: dict[tuple[str, str], list[str]] = {}
    for name, value in pairs:
        if match := FILTER_PARAMETER.fullmatch(name):
            values.setdefault((match[1], match[2]), []).append(value)
    if sum(map(len, values.values())) > MAX_FILTER_VALUES:
        raise RequestRejected("PAGINATION_FILTERS_INVALID")
    for (column, operator), filter_values in values.items():
        if operator not in OPERATORS:
            raise RequestRejected(
                "PAGINATION_OPERATOR_INVALID",
                f"Unknown operator {operator}. Use one of {', '.join(sorted(OPERATORS))}.",
            )
        yield Filter.model_validate({"column": column, "operator": operator, "values": tuple(filter_values)})


def create_page_writer(row: type[ResponseModel]) -> Serializer:
    """Return a Serializer that converts the answer to a FilteredPageRequest to a page of `row` models."""
    data: Any = (tuple[row, ...], ...)  # type: ignore[valid-type]
    envelope = create_model(f"{row.__name__}Page", __base__=Envelope, data=data)
    adapter: TypeAdapter[Any] = TypeAdapter(envelope)

    def write(answer: bytes, _context: ResponseContext, message: Message) -> bytes:
        assert isinstance(message, FilteredPageRequest)  # noqa: S101  used by page routes only
        page = Page.model_validate_json(answer)
        size = message.limit if message.limit <= MAX_PAGE_SIZE else max(page.total, DEFAULT_PAGE_SIZE)
        number = message.skip // message.limit + 1
        total = page.total if message.counted else size * (number + 1)
        content = {
            "current_page": number,
            "from": size * (number - 1) + 1,
            "to": min(size * number, total),
            "per_page": size,
            "total": total,
            "last_page": max(1, -(-total // size)),
            "data": page.rows,
        }
        return adapter.dump_json(adapter.validate_python(content), by_alias=True)

    return Serializer(envelope, write)
