"""Route builders for GitFlic's API: by default for administrators, and with status 403 for a bad or missing token."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from contracts.paging import SliceQuery
from gateway.adapters.gitflic import slices
from gateway.auth import Role
from gateway.framework.route_table import Part, Route, command, query
from gateway.framework.serializers import Writer

admin_command = partial(command, needs=Role.ADMIN, stranger=403)
admin_query = partial(query, needs=Role.ADMIN, stranger=403)


def paged_query(
    path: str,
    message: type[SliceQuery],
    write: Writer,
    *,
    parts: tuple[Part, ...] = (),
    query: Mapping[str, str] | None = None,
    **options: Any,
) -> Route:
    """Build the route of a paged list; `parts` read its filters and `query` documents them."""
    return admin_query(
        path,
        message,
        write=write,
        parts=(slices.read_slice_fields, *parts),
        query={**(query or {}), **slices.PARAMETERS},
        **options,
    )
