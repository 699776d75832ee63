"""Readers of body fields: each converts the types that clients send and rejects other types."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

MAX_ID = 2**63 - 1
TEXT: dict[str, Any] = {"type": ["string", "null"]}


class Unreadable(ValueError):
    """The value has a type that the field does not accept; the message names the accepted types."""


@dataclass(frozen=True, slots=True)
class Field:
    read: Callable[[Any], Any]
    schema: Mapping[str, Any]
    wire: str = ""  # name in the body, if it differs from the name in the message
    always: bool = False  # a missing field is read as null
    required: bool = False  # rejected if it is missing, null or empty
    required_in_docs: bool | None = None  # documented as required or optional; None: derived from the error codes

    def called(self, wire: str) -> "Field":
        return replace(self, wire=wire)

    def needed(self) -> "Field":
        return replace(self, required=True, always=True)

    def must(self) -> "Field":
        """Return a copy documented as required; if the field is missing, the message decides what happens."""
        return replace(self, required_in_docs=True)

    def may(self) -> "Field":
        """Return a copy documented as optional, for routes that do not require the field although others do."""
        return replace(self, required_in_docs=False)

    def otherwise(self, default: Any) -> "Field":
        """Return a copy that reads null and a missing field as `default`."""

        def read(value: Any) -> Any:
            found = self.read(value)
            return default if found is None else found

        return replace(self, read=read, always=True)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise Unreadable("a string or null")


def _scalar(value: Any) -> str | None:
    match value:
        case None | "":
            return None
        case str():
            return value
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float() if math.isfinite(value):  # parsers read 1e400 as infinity
            return str(value)
    raise Unreadable("a string, a number or null")


def _integer(value: Any) -> int | None:
    match value:
        case None | "":
            return None
        case str() if value.isascii() and value.removeprefix("-").isdigit() and len(value) <= 20:
            value = int(value)
        case bool():
            raise Unreadable("a whole number or null")
    if isinstance(value, int) and abs(value) <= MAX_ID:
        return value
    raise Unreadable("a whole number or null")


def _boolean(value: Any) -> bool | None:
    match value:
        case None | "":
            return None
        case bool():
            return value
        case str():
            return value.lower() == "true"
    raise Unreadable("true, false or null")


def _day(value: Any) -> str | None:
    """Return a date in ISO 8601; a date-time is converted to its date in UTC."""
    if value in (None, ""):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment.astimezone(UTC) if moment.tzinfo else moment).date().isoformat()
    except (TypeError, ValueError, OverflowError):
        raise Unreadable("a date like 2030-12-31, or null") from None


def _list_of(read: Callable[[Any], Any], wanted: str) -> Callable[[Any], Any]:
    def read_all(value: Any) -> Any:
        if value is None:
            return None
        try:
            items = [read(one) for one in value] if isinstance(value, list) else [None]
        except Unreadable:
            items = [None]
        if None in items:
            raise Unreadable(wanted)
        return tuple(items)

    return read_all


def _mapping(value: Any) -> dict[str, str]:
    if not isinstance(value, dict | None):
        raise Unreadable("an object of strings or null")
    return {name: _scalar(one) or "" for name, one in (value or {}).items()}


def _array(items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": ["array", "null"], "items": items}


text = Field(_text, TEXT)
scalar = Field(_scalar, TEXT)
integer = Field(_integer, {"type": ["integer", "null"], "format": "int64"})
boolean = Field(_boolean, {"type": ["boolean", "null"]})
day = Field(_day, {"type": ["string", "null"], "format": "date"})
integers = Field(_list_of(_integer, "a list of whole numbers"), _array({"type": "integer", "format": "int64"}))
texts = Field(_list_of(_text, "a list of strings"), _array({"type": "string"}))
mapping = Field(_mapping, {"type": ["object", "null"], "additionalProperties": {"type": "string"}})
