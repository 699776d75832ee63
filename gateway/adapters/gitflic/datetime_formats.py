"""GitFlic's date formats. Services report times in ISO 8601 with a time zone."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field


def _to_utc(at: Any) -> datetime:
    return datetime.fromisoformat(at).astimezone(UTC).replace(tzinfo=None)


def format_local_time(at: Any) -> str:
    """Return the time in UTC, without a zone and trailing zeros, like `2024-06-03T08:37:21.33104`."""
    text = _to_utc(at).isoformat()
    return text.rstrip("0") if "." in text else text


def format_instant(at: Any) -> str:
    """Return the time in UTC with microseconds, like `2024-06-21T11:38:15.229604Z`."""
    return _to_utc(at).isoformat(timespec="microseconds") + "Z"


LocalTime = Annotated[str, BeforeValidator(format_local_time)]
Instant = Annotated[str, BeforeValidator(format_instant), Field(json_schema_extra={"format": "date-time"})]
Day = Annotated[str, Field(json_schema_extra={"format": "date"})]
"""A date like `2020-10-10`, unchanged from the service's answer."""
