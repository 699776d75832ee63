"""The two kinds of lines that many resources share."""

from collections.abc import Mapping
from typing import Any

from contracts.messages import Command
from gateway import paging
from gateway.fields import Field
from gateway.routing import Part, Route, Shown, body, command, query


def change(
    base: str,
    resource: str,
    part: str,
    message: type[Command],
    *,
    shows: Shown,
    fixed: Mapping[str, Any] | None = None,
    errors: tuple[str, ...] = (),
    **fields: Field,
) -> Route:
    """PATCH of a single field; the answer is the whole resource."""
    parts = (lambda _asked: fixed,) if fixed else ()
    return command(
        "PATCH", f"{base}/{part}", message, body=body(resource, **fields), parts=parts, shows=shows, errors=errors
    )


def page(path: str, message: Any, write: Any, *, parts: tuple[Part, ...] = ()) -> Route:
    return query(
        path, message, parts=(paging.wanted, *parts), write=write, query=paging.PARAMETERS, errors=paging.CODES
    )
