"""GitFlic's paging: page numbers start at zero, the order is fixed, and each list has its own name for the rows."""

from typing import Any
from urllib.parse import parse_qsl

from pydantic import Field, TypeAdapter, create_model

from contracts.messages import Message, Page
from contracts.paging import SliceQuery
from gateway.context import RequestContext
from gateway.framework.serializers import Shape, Writer

DEFAULT_PAGE_SIZE = 10
MAX_PAGE_SIZE = 1000
MAX_DIGITS = 15  # limit of a page number or size; every JSON parser reads numbers of this length exactly

PARAMETERS = {
    "page": "page number, from 0; invalid values mean 0",
    "size": f"rows per page, at most {MAX_PAGE_SIZE}, default {DEFAULT_PAGE_SIZE}; invalid values mean the default",
}


class PageInfo(Shape):
    size: int
    totalElements: int  # noqa: N815  GitFlic's own names
    totalPages: int  # noqa: N815
    number: int


def read_slice_fields(context: RequestContext) -> dict[str, int]:
    """Return the fields of a SliceQuery from the request's query string."""
    return parse_slice_fields(context.query)


def parse_slice_fields(query: bytes) -> dict[str, int]:
    """Return the fields of a SliceQuery from a query string; invalid values mean the defaults."""
    parameters = dict(parse_qsl(query.decode("latin-1")))
    return {
        "page": _parse_number(parameters.get("page", ""), minimum=0, default=0),
        "size": min(_parse_number(parameters.get("size", ""), minimum=1, default=DEFAULT_PAGE_SIZE), MAX_PAGE_SIZE),
    }


def _parse_number(text: str, *, minimum: int, default: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS and int(text) >= minimum):
        return default
    return int(text)


def create_slice_writer(row: type[Shape], name: str) -> Writer:
    """Return a Writer that converts the answer to a SliceQuery to a page with its rows under `name`."""
    fields: dict[str, Any] = {name: (tuple[row, ...], ...)}  # type: ignore[valid-type]
    embedded: Any = create_model(f"{row.__name__}List", __base__=Shape, **fields)
    parts: dict[str, Any] = {"embedded": (embedded, Field(alias="_embedded")), "page": (PageInfo, ...)}
    envelope: Any = create_model(f"{row.__name__}Page", __base__=Shape, **parts)
    adapter: TypeAdapter[Any] = TypeAdapter(envelope)

    def write(answer: bytes, context: RequestContext, message: Message) -> bytes:
        assert isinstance(message, SliceQuery)  # noqa: S101  used by list routes only
        page = Page.model_validate_json(answer)
        content = {
            "_embedded": {name: page.rows},
            "page": {
                "size": message.size,
                "totalElements": page.total,
                "totalPages": -(-page.total // message.size),
                "number": message.page,
            },
        }
        return adapter.dump_json(adapter.validate_python(content, context=context), by_alias=True)

    return Writer(envelope, write)
