"""Field types of the runners messages, and common base classes."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from contracts.messages import Message

OwnerType = Literal["GLOBAL", "COMPANY", "PROJECT"]

Scope = Annotated[str, Field(pattern=r"^(service|(company|project)-[1-9][0-9]{0,17})$")]
"""Scope of a registration token: "service", "company-4" or "project-84"."""


def _to_short_text(value: Any) -> str:
    return value[:255] if isinstance(value, str) else ""


# text, truncated to 255 characters; values of other types become an empty text
ShortText = Annotated[str, BeforeValidator(_to_short_text)]


class RunnerInfo(Message):
    """What a runner reports about itself."""

    name: ShortText = ""
    version: ShortText = ""
    platform: ShortText = ""
    architecture: ShortText = ""
    executor: ShortText = ""


class RunnerSettings(Message):
    """Settings of a runner, which administrators, and maintainers or members of its project or company can change."""

    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    run_untagged: bool = True
    locked: bool = False
    protected: bool = False
    active: bool = True
    max_timeout_seconds: int | None = None  # None: no limit
