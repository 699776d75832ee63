"""Types of the fields that runners send. Runners of several versions send numbers and flags as text, too."""

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema

from contracts.builds import ReportJob
from contracts.errors import RequestRejected

FAILURE_REASON = re.compile(r"[a-z0-9_]{1,64}")
JOB_STATES = frozenset(get_args(ReportJob.model_fields["state"].annotation))
MAX_INTEGER = 2**63 - 1


def _read_text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _read_flag(value: Any) -> bool | None:
    match value:
        case bool():
            return value
        case str() if value:
            return value.strip().lower() in {"true", "1", "yes"}
        case _:
            return None


def _read_integer(value: Any, info: ValidationInfo) -> int | None:
    match value:
        case None | "" | bool():
            return None
        case str() if value.isascii() and value.removeprefix("-").isdigit() and len(value) < 19:
            return int(value)
        case int() if abs(value) <= MAX_INTEGER:
            return value
        case _:
            raise RequestRejected("REQUEST_INVALID", f"{info.field_name} must be a whole number.")


def _read_failure_reason(value: Any) -> str:
    """Return the failure reason, or `unknown_failure` if it is not a plain identifier, because mails show it."""
    reason = _read_text(value)
    return reason if not reason or FAILURE_REASON.fullmatch(reason) else "unknown_failure"


def _read_access_level(value: Any) -> str:
    level = value or "not_protected"
    if level not in ("not_protected", "ref_protected"):
        raise RequestRejected("REQUEST_INVALID", "access_level must be not_protected or ref_protected.")
    return str(level)


def _read_tags(value: Any) -> tuple[str, ...]:
    """Return the tags of a list or a comma-separated string, without duplicates."""
    parts = value if isinstance(value, list) else [value or ""]
    if not all(isinstance(part, str) for part in parts):
        raise RequestRejected("REQUEST_INVALID", "tag_list must be a list of strings, or a string separated by commas.")
    tags = (tag.strip() for part in parts for tag in part.split(","))
    return tuple(dict.fromkeys(tag for tag in tags if tag))


def _read_state(value: Any) -> str:
    state = _read_text(value)
    if state not in JOB_STATES:
        raise RequestRejected("REQUEST_MALFORMED", f"state must be one of {', '.join(sorted(JOB_STATES))}.")
    return state


def _read_object(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


Text = Annotated[str, BeforeValidator(_read_text)]
Flag = Annotated[bool | None, BeforeValidator(_read_flag)]
Integer = Annotated[int | None, BeforeValidator(_read_integer)]
Object = Annotated[dict[str, Any] | None, BeforeValidator(_read_object)]
OptionalObject = BeforeValidator(_read_object)
FailureReason = Annotated[str, BeforeValidator(_read_failure_reason)]
AccessLevel = Annotated[Literal["not_protected", "ref_protected"], BeforeValidator(_read_access_level)]
JobState = Annotated[Literal["running", "success", "failed"], BeforeValidator(_read_state)]
Tags = Annotated[
    tuple[str, ...],
    BeforeValidator(_read_tags),
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}),
]
