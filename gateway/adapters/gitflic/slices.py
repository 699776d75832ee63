"""GitFlic's pages: counted from zero, in the list's one order, under a name that each list has of its own."""

from typing import Any
from urllib.parse import parse_qsl

from pydantic import Field, TypeAdapter, create_model

from contracts.messages import Message, Page
from contracts.paging import SliceQuery
from gateway.context import RequestContext
from gateway.framework.serializers import Shape, Writer

DEFAULT_PAGE_SIZE = 10
MAX_PAGE_SIZE = 1000
MAX_DIGITS = 15  # of a number that JSON carries exactly

PARAMETERS = {
    "page": "the page, from 0; 0 also for what is no such number",
    "size": f"rows per page, at most {MAX_PAGE_SIZE}; {DEFAULT_PAGE_SIZE} also for what is no such number",
}


class Place(Shape):
    size: int
    totalElements: int  # noqa: N815  GitFlic's own names
    totalPages: int  # noqa: N815
    number: int


def read_slice_fields(asked: RequestContext) -> dict[str, int]:
    return parse_slice_fields(asked.query)


def parse_slice_fields(query: bytes) -> dict[str, int]:
    """The fields of a SliceQuery."""
    given = dict(parse_qsl(query.decode("latin-1")))
    return {
        "page": _parse_number(given.get("page", ""), minimum=0, default=0),
        "size": min(_parse_number(given.get("size", ""), minimum=1, default=DEFAULT_PAGE_SIZE), MAX_PAGE_SIZE),
    }


def _parse_number(text: str, *, minimum: int, default: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS and int(text) >= minimum):
        return default
    return int(text)


def create_slice_writer(row: type[Shape], name: str) -> Writer:
    """The envelope around rows of this shape; the question is a SliceQuery, its answer a Page."""
    fields: dict[str, Any] = {name: (tuple[row, ...], ...)}  # type: ignore[valid-type]
    embedded: Any = create_model(f"{row.__name__}List", __base__=Shape, **fields)
    parts: dict[str, Any] = {"embedded": (embedded, Field(alias="_embedded")), "page": (Place, ...)}
    envelope: Any = create_model(f"{row.__name__}Page", __base__=Shape, **parts)
    adapter: TypeAdapter[Any] = TypeAdapter(envelope)

    def write(answer: bytes, asked: RequestContext, message: Message) -> bytes:
        assert isinstance(message, SliceQuery)  # noqa: S101  only slices are written so
        page = Page.model_validate_json(answer)
        found = {
            "_embedded": {name: page.rows},
            "page": {
                "size": message.size,
                "totalElements": page.total,
                "totalPages": -(-page.total // message.size),
                "number": message.page,
            },
        }
        return adapter.dump_json(adapter.validate_python(found, context=asked), by_alias=True)

    return Writer(envelope, write)
