"""`forward_page` adds the route of a paged list with filters and order, and documents its query parameters."""

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Depends

from contracts.paging import MAX_FILTER_VALUES, FilteredPageRequest
from gateway.adapters.free_commit.paging import ERROR_CODES, MAX_PAGE_SIZE, OPERATORS, read_page_fields
from gateway.forwarding.forward import forward
from gateway.forwarding.serializers import Serializer

WHOLE_NUMBER = {"type": "integer", "minimum": 0}
TEXT = {"type": "string"}
PARAMETERS: dict[str, tuple[str, dict[str, Any]]] = {
    "page": ("page number, from 1", WHOLE_NUMBER),
    "per_page": ("rows per page, default 20; also `perPage`", {**WHOLE_NUMBER, "maximum": MAX_PAGE_SIZE}),
    "sort_by": ("column to sort by, or `NONE`; also `sortBy`", TEXT),
    "order_by": ("`ASC` or `DESC`; also `orderBy`", {"type": "string", "enum": ["ASC", "DESC"]}),
    "mode": (
        "`include`: rows that match any filter; default: rows that match all filters",
        {"type": "string", "enum": ["exclude", "include"]},
    ),
    "dynamic_counting": ("`true`: skip counting the rows; `total` then assumes one more page", {"type": "boolean"}),
}
"""Query parameters, with their descriptions and schemas. They are read all at once, with invalid values allowed."""
FILTER_DESCRIPTION = (
    "filter `column[operator]=value`; several values of a filter are alternatives, at most "
    f"{MAX_FILTER_VALUES} values in all; `null` matches missing values"
)


def forward_page(
    router: APIRouter,
    path: str,
    message: type[FilteredPageRequest],
    user: Any,
    summary: str,
    page: Serializer,
    *,
    read_fields: Any = read_page_fields,
) -> None:
    """Add the route of a paged list. `page` serializes the rows, whose columns are documented as filters."""
    forward(
        router,
        "GET",
        path,
        message,
        user,
        summary,
        response=page,
        fields=(Depends(read_fields),),
        errors=ERROR_CODES,
        openapi_extra={"parameters": list(_describe_parameters(page))},
    )


def _describe_parameters(page: Serializer) -> Iterator[dict[str, Any]]:
    for name, (description, schema) in PARAMETERS.items():
        yield _parameter(name, description, schema)
    (rows,) = page.model.model_fields["data"].annotation.__args__[:1]
    operators = {"type": "object", "properties": dict.fromkeys(sorted(OPERATORS), TEXT), "additionalProperties": False}
    for column in ("id", *rows.model_fields):
        yield {**_parameter(column, FILTER_DESCRIPTION, operators), "style": "deepObject", "explode": True}


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}
