"""The kinds of lines that GitFlic's routes share: administrators only unless told; no good token is 403, never 401."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from contracts.paging import SliceQuery
from gateway.auth import Role
from gateway.dialects.gitflic import pages
from gateway.routing import Part, Route, command, query
from gateway.writing import Writer

tell = partial(command, needs=Role.ADMIN, stranger=403)
ask = partial(query, needs=Role.ADMIN, stranger=403)


def listing(
    path: str,
    message: type[SliceQuery],
    write: Writer,
    *,
    parts: tuple[Part, ...] = (),
    query: Mapping[str, str] | None = None,
    **more: Any,
) -> Route:
    """A page of a list; `parts` and `query` are its own filters."""
    return ask(
        path, message, write=write, parts=(pages.wanted, *parts), query={**(query or {}), **pages.PARAMETERS}, **more
    )
