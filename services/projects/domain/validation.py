"""Validation of the fields of projects and secrets."""

import re

from contracts.messages import Payload
from contracts.projects import BuildTriggers, ChangeRetentionLimits, ChangeTriggers, CreateProject, RetentionLimits
from libs.eventstore.decider import RequestRejected
from services.projects.domain.internal_commands import AddProject

ALIAS_PATTERN = re.compile(r"[a-z0-9_][a-z0-9._-]{0,63}")
MAX_KEPT_BUILDS = 10**9
MAX_KEPT_DAYS = 36_500


def require_line(text: str | None, code: str) -> str:
    """Return the trimmed text. Raises RequestRejected with the code if the text is blank.

    Control characters and line breaks are rejected with REQUEST_INVALID.
    """
    line = (text or "").strip()
    if not line:
        raise RequestRejected(code)
    if not line.isprintable():
        raise RequestRejected(
            "REQUEST_INVALID", "A name, path or URL cannot contain line breaks or control characters."
        )
    return line


def require_secret_text(text: str | None, code: str) -> str:
    """Return the text unchanged. Raises RequestRejected with the code if it is blank.

    A NUL character is rejected, because environment variables cannot contain it.
    """
    if not (text or "").strip():
        raise RequestRejected(code)
    if text is None or "\0" in text:
        raise RequestRejected("REQUEST_INVALID", "A secret value cannot contain a NUL character.")
    return text


def validate_retention(number: int | None) -> int | None:
    if number is not None and not 0 <= number <= MAX_KEPT_BUILDS:
        raise RequestRejected("PROJECT_KEEP_NUMBER_BUILD_INVALID")
    return number


def changed_limits(
    present: RetentionLimits, command: ChangeRetentionLimits | CreateProject | AddProject
) -> dict[str, int]:
    """Return the limits that a command changes. Raises RequestRejected if one is out of range."""
    sent = {name: getattr(command, name) for name in RetentionLimits.model_fields}
    changed = {name: value for name, value in sent.items() if value is not None and value != getattr(present, name)}
    for name, value in changed.items():
        if not 0 <= value <= (MAX_KEPT_DAYS if name.endswith("_days") else MAX_KEPT_BUILDS):
            raise RequestRejected("PROJECT_RETENTION_INVALID")
    return changed


def changed_triggers(present: BuildTriggers, command: ChangeTriggers) -> Payload:
    """Return the settings of triggers that a command changes."""
    sent = {name: getattr(command, name) for name in BuildTriggers.model_fields}
    return {name: value for name, value in sent.items() if value is not None and value != getattr(present, name)}


def validate_concurrency(value: bool | None) -> bool:
    if value is None:
        raise RequestRejected("PROJECT_ALLOW_CONCURRENT_EXECUTION_REQUIRED")
    return value


def require_executor_id(executor_id: int | None) -> int:
    if executor_id is None:
        raise RequestRejected("EXECUTOR_NOT_FOUND")
    return executor_id


def validate_alias(text: str) -> str:
    alias = text.strip().lower()
    if not ALIAS_PATTERN.fullmatch(alias):
        raise RequestRejected("PROJECT_ALIAS_INVALID")
    return alias
