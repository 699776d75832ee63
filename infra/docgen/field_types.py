"""Types of message fields as text, and the fields that contain ciphertext."""

from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from contracts.messages import Event, Message


def describe_fields(message: type[Message]) -> str:
    """Return all fields with types and defaults, as the text of a table cell."""
    descriptions = [_describe_field(name, field) for name, field in message.model_fields.items()]
    return "<br>".join(descriptions) or "none"


def sealed_fields(event: type[Event]) -> list[str]:
    """Return the fields that contain ciphertext, which only the owning service can decrypt."""
    return [name for name in event.model_fields if name in event.personal or "sealed" in name.split("_")]


def _describe_field(name: str, field: FieldInfo) -> str:
    default = "" if field.is_required() else f" = {_format_default(field.get_default(call_default_factory=True))}"
    secret = "" if field.repr else " (secret)"
    return f"`{name}: {type_name(field.annotation)}{default}`{secret}"


def type_name(annotation: Any) -> str:
    """Return a type as text: `int`, `text?` if null is allowed, `int[]`, `map`, or the name of a message."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        optional = "?" if NoneType in inner else ""
        return " or ".join(type_name(member) for member in inner if member is not NoneType) + optional
    if origin is Literal:
        return " or ".join(f'"{value}"' for value in inner)
    if origin in (tuple, list):
        return f"{type_name(inner[0])}[]"
    if origin is dict:
        return "map"
    if hasattr(annotation, "__metadata__"):
        return type_name(inner[0])
    name: str = annotation.__name__
    return {"str": "text", "bool": "yes/no", "datetime": "time"}.get(name, name)


def _format_default(value: Any) -> str:
    match value:
        case Message():
            return "{}"
        case tuple():
            return "[]" if not value else str(list(value))
        case None:
            return "null"
        case bool():
            return "yes" if value else "no"
        case str():
            return f'"{value}"'
        case _:
            return str(value)
