"""Routes of Free Commit's API that change one field of a resource: `PATCH /admin/secrets/{id}/name`."""

from typing import Any

from fastapi import APIRouter

from contracts.messages import Command
from gateway.forwarding.forward import forward
from gateway.schemas.json_body import Envelope, envelope_with


def forward_change(
    router: APIRouter,
    path: str,
    name: str,
    message: type[Command],
    summary: str,
    *,
    body: type[Envelope],
    user: Any,
    field: str = "",
    message_field: str = "",
    required: bool = True,
    reject_null: bool = False,
    **options: Any,
) -> None:
    """Add a route that changes the field `name`; it responds with the whole resource.

    `field` is the field of `body`, if its name is not `name`. The other arguments are passed to `envelope_with` and
    `forward`.
    """
    one_field = envelope_with(
        body, field or name, required=required, reject_null=reject_null, message_field=message_field
    )
    forward(router, "PATCH", f"{path}/{name}", message, user, summary, body=one_field, **options)
