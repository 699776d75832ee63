"""Fields that several messages about runners have."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from contracts.messages import Message

OwnerType = Literal["GLOBAL", "COMPANY", "PROJECT"]

Scope = Annotated[str, Field(pattern=r"^(service|(company|project)-[1-9][0-9]{0,17})$")]
"""Whom a registration token makes runners for: "service", "company-4" or "project-84"."""


def _to_short_text(value: Any) -> str:
    return value[:255] if isinstance(value, str) else ""


ShortText = Annotated[
    str, BeforeValidator(_to_short_text)
]  # short text; anything else that a runner sends counts as nothing


class RunnerInfo(Message):
    """What a runner says about itself at each call; members nobody reads are ignored."""

    name: ShortText = ""
    version: ShortText = ""
    platform: ShortText = ""
    architecture: ShortText = ""
    executor: ShortText = ""


class RunnerSettings(Message):
    """What an administrator can change."""

    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    run_untagged: bool = True
    locked: bool = False
    protected: bool = False
    active: bool = True
    max_timeout_seconds: int | None = None  # None: no limit
