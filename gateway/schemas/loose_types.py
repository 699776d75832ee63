"""Types of request fields, some of which also accept numbers and flags as text, because clients send them so."""

import math
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from contracts.errors import RequestRejected

MAX_ID = 2**63 - 1


def wrong_type(expected: str) -> PydanticCustomError:
    return PydanticCustomError("wrong_type", "must be {expected}", {"expected": expected})


def _read_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise wrong_type("a string or null")


def _read_scalar(value: Any) -> str | None:
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
    raise wrong_type("a string, a number or null")


def _read_integer(value: Any) -> int | None:
    match value:
        case None | "":
            return None
        case str() if value.isascii() and value.removeprefix("-").isdigit() and len(value) <= 20:
            value = int(value)
        case bool():
            raise wrong_type("a whole number or null")
    if isinstance(value, int) and abs(value) <= MAX_ID:
        return value
    raise wrong_type("a whole number or null")


def _read_boolean(value: Any) -> bool | None:
    match value:
        case None | "":
            return None
        case bool():
            return value
        case str():
            return value.lower() == "true"
    raise wrong_type("true, false or null")


def _read_utc_day(value: Any) -> date | None:
    """Return the date, in UTC for a date-time with a zone."""
    if value in (None, ""):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment.astimezone(UTC) if moment.tzinfo else moment).date()
    except (TypeError, ValueError, OverflowError):
        raise wrong_type("a date like 2030-12-31, or null") from None


def _read_local_day(value: Any) -> date | None:
    """Return the date of an ISO 8601 date or date-time, ignoring time and zone."""
    if value in (None, ""):
        return None
    try:
        return datetime.fromisoformat(value).date()
    except (TypeError, ValueError):
        raise wrong_type("a date like 2030-12-31 or null") from None


def _list_of(read: Callable[[Any], Any], expected: str) -> Callable[[Any], Any]:
    def read_all(value: Any) -> tuple[Any, ...] | None:
        if value is None:
            return None
        try:
            items = [read(item) for item in value] if isinstance(value, list | tuple) else [None]
        except PydanticCustomError:
            items = [None]
        if None in items:
            raise wrong_type(expected)
        return tuple(items)

    return read_all


def _read_mapping(value: Any) -> dict[str, str]:
    if not isinstance(value, dict | None):
        raise wrong_type("an object of strings or null")
    return {name: _read_scalar(item) or "" for name, item in (value or {}).items()}


def parse_time(name: str, text: str) -> datetime:
    """Return the time in the query parameter `name`, in UTC. Raises REQUEST_MALFORMED."""
    for candidate in (text, text.replace(" ", "+")):  # an unescaped plus sign arrives as a space
        try:
            time = datetime.fromisoformat(candidate)
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    raise RequestRejected(
        "REQUEST_MALFORMED", f"{name} must be a time in ISO 8601, like 2026-01-31T12:00:00Z, or a date."
    )


def reject_empty(value: Any) -> Any:
    if value in (None, ""):
        raise PydanticCustomError("missing", "is missing, null or empty")
    return value


def none_as_empty(value: Any) -> Any:
    """Return an empty list for null."""
    return () if value is None else value


_INTEGER = {"type": "integer", "format": "int64"}
Text = Annotated[str | None, BeforeValidator(_read_text)]
Scalar = Annotated[str | None, BeforeValidator(_read_scalar)]
Integer = Annotated[int | None, BeforeValidator(_read_integer)]
Boolean = Annotated[bool | None, BeforeValidator(_read_boolean)]
UtcDay = Annotated[date | None, BeforeValidator(_read_utc_day)]
LocalDay = Annotated[date | None, BeforeValidator(_read_local_day)]
Integers = Annotated[tuple[int, ...] | None, BeforeValidator(_list_of(_read_integer, "a list of whole numbers"))]
Texts = Annotated[tuple[str, ...] | None, BeforeValidator(_list_of(_read_text, "a list of strings"))]
StringMap = Annotated[dict[str, str] | None, BeforeValidator(_read_mapping)]
