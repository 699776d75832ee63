"""GitFlic's paging: page numbers start at zero, the order is fixed, and each list has its own name for the rows."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import Query, Request
from pydantic import Field, TypeAdapter, create_model

from contracts.messages import Message, Page
from contracts.paging import PageRequest
from gateway.forwarding.serializers import ResponseContext, ResponseModel, Serializer

DEFAULT_PAGE_SIZE = 10
MAX_PAGE_SIZE = 1000
MAX_DIGITS = 15  # limit of a page number or size; every JSON parser reads numbers of this length exactly


class PageInfo(ResponseModel):
    size: int = Field(description="rows per page")
    totalElements: int = Field(description="total number of rows")
    totalPages: int = Field(description="total number of pages; 0 for an empty list")
    number: int = Field(description="page number, from 0")


async def read_slice_fields(
    request: Request,
    _page: Annotated[str | None, Query(alias="page", description="page number, from 0; invalid values mean 0")] = None,
    _size: Annotated[
        str | None,
        Query(
            alias="size",
            description=f"rows per page, at most {MAX_PAGE_SIZE}; invalid values mean the default, {DEFAULT_PAGE_SIZE}",
        ),
    ] = None,
) -> Mapping[str, Any]:
    return parse_slice_fields(request.scope["query_string"])


def parse_slice_fields(query: bytes) -> dict[str, Any]:
    """Return the fields of a PageRequest from a query string. Invalid values count as missing."""
    parameters = dict(parse_qsl(query.decode("latin-1")))
    number = _parse_number(parameters.get("page", ""), minimum=0, default=0)
    size = min(_parse_number(parameters.get("size", ""), minimum=1, default=DEFAULT_PAGE_SIZE), MAX_PAGE_SIZE)
    return {"skip": number * size, "limit": size, "counted": True}


def _parse_number(text: str, *, minimum: int, default: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS and int(text) >= minimum):
        return default
    return int(text)


def create_slice_writer(row: type[ResponseModel], name: str) -> Serializer:
    """Return a Serializer that converts the Page of a service into a page of GitFlic with the rows under `name`."""
    fields: dict[str, Any] = {name: (tuple[row, ...], ...)}  # type: ignore[valid-type]
    embedded: Any = create_model(f"{row.__name__}List", __base__=ResponseModel, **fields)
    parts: dict[str, Any] = {"embedded": (embedded, Field(alias="_embedded")), "page": (PageInfo, ...)}
    envelope: Any = create_model(f"{row.__name__}Page", __base__=ResponseModel, **parts)
    adapter: TypeAdapter[Any] = TypeAdapter(envelope)

    def write(answer: bytes, context: ResponseContext, message: Message) -> bytes:
        assert isinstance(message, PageRequest)  # noqa: S101  used by list routes only
        page = Page.model_validate_json(answer)
        content = {
            "_embedded": {name: page.rows},
            "page": {
                "size": message.limit,
                "totalElements": page.total,
                "totalPages": -(-page.total // message.limit),
                "number": message.skip // message.limit,
            },
        }
        return adapter.dump_json(adapter.validate_python(content, context=context), by_alias=True)

    return Serializer(envelope, write)
