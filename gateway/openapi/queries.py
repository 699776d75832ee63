"""Query parameters with their schemas."""

from collections.abc import Iterator
from typing import Any

from gateway.adapters.free_commit.paging import FILTERS_PARAMETER, MAX_PAGE_SIZE, OPERATORS
from gateway.framework.route_table import Route

TEXT: dict[str, Any] = {"type": "string"}
WHOLE: dict[str, Any] = {"type": "integer", "minimum": 0}
SCHEMAS: dict[str, dict[str, Any]] = {
    "page": WHOLE,
    "per_page": {**WHOLE, "maximum": MAX_PAGE_SIZE},
    "size": WHOLE,
    "after": WHOLE,
    "version": {**WHOLE, "minimum": 1},
    "order_by": {"type": "string", "enum": ["ASC", "DESC"]},
    "mode": {"type": "string", "enum": ["exclude", "include"]},
    "dynamic_counting": {"type": "boolean"},
}


def queried(route: Route) -> Iterator[dict[str, Any]]:
    for name, meaning in route.query.items():
        if name == FILTERS_PARAMETER:
            yield from (_filter(column, meaning) for column in _columns(route))
        else:
            yield {
                "name": name,
                "in": "query",
                "required": False,
                "description": meaning,
                "schema": SCHEMAS.get(name, TEXT),
            }


def _filter(column: str, meaning: str) -> dict[str, Any]:
    """Build a filter parameter; `column[operator]=value` is OpenAPI's style deepObject."""
    operators = dict.fromkeys(sorted(OPERATORS), TEXT)
    return {
        "name": column,
        "in": "query",
        "required": False,
        "description": meaning,
        "style": "deepObject",
        "explode": True,
        "schema": {"type": "object", "properties": operators, "additionalProperties": False},
    }


def _columns(route: Route) -> list[str]:
    assert route.write is not None  # noqa: S101  a page has rows
    schema = route.write.adapter.json_schema()
    row = schema["properties"]["data"]["items"]["$ref"].rpartition("/")[2]
    return ["id", *schema["$defs"][row]["properties"]]
