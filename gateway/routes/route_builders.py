"""Route builders that many resources share."""

from collections.abc import Mapping
from typing import Any

from contracts.messages import Command
from gateway.adapters.free_commit import paging
from gateway.framework.fields import Field
from gateway.framework.route_table import Part, Route, Shown, body, command, query


def patch_field(
    base: str,
    resource: str,
    field_path: str,
    message: type[Command],
    *,
    shows: Shown,
    fixed: Mapping[str, Any] | None = None,
    errors: tuple[str, ...] = (),
    **fields: Field,
) -> Route:
    """Build a route that changes a single field by PATCH and responds with the whole resource."""
    parts = (lambda _context: fixed,) if fixed else ()
    return command(
        "PATCH", f"{base}/{field_path}", message, body=body(resource, **fields), parts=parts, shows=shows, errors=errors
    )


def list_page(path: str, message: Any, write: Any, *, parts: tuple[Part, ...] = ()) -> Route:
    return query(
        path,
        message,
        parts=(paging.read_page_fields, *parts),
        write=write,
        query=paging.PARAMETERS,
        errors=paging.ERROR_CODES,
    )
