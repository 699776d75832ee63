"""Runners in GitFlic's API, where they are called agents."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import AliasPath, BeforeValidator, Field

from contracts.errors import RequestRejected
from contracts.runners import OwnerType
from gateway.adapters.gitflic.datetime_formats import LocalTime
from gateway.adapters.gitflic.slices import create_slice_writer
from gateway.context import RequestContext
from gateway.framework.fields import Field as Sent
from gateway.framework.fields import Unreadable
from gateway.framework.route_table import bare
from gateway.framework.serializers import Shape, shaped


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]


class Runner(Shape):
    id: str = Field(validation_alias="uuid")
    description: str
    connectedAt: LocalTime = Field(validation_alias="connected_at")  # noqa: N815  GitFlic's own names
    active: bool
    name: str
    platform: Annotated[str, BeforeValidator(_capitalize)] = Field(validation_alias=AliasPath("info", "platform"))
    architecture: str = Field(validation_alias=AliasPath("info", "architecture"))
    ipAddress: str = Field(validation_alias="ip_address")  # noqa: N815
    tags: tuple[str, ...]
    ownerType: OwnerType = Field(validation_alias="owner_type")  # noqa: N815
    ownerId: int | None = Field(validation_alias="owner_id")  # noqa: N815
    runUntagged: bool = Field(validation_alias="run_untagged")  # noqa: N815
    locked: bool
    maxTimeoutInSec: int | None = Field(validation_alias="max_timeout_seconds")  # noqa: N815
    protected: bool


RUNNER = shaped(Runner)
RUNNER_PAGE = create_slice_writer(Runner, "restPipelineRunnerModelList")


# ---- request fields; null means unset


def _require_type(kind: type, expected: str) -> Callable[[Any], Any]:
    """Return a reader that accepts values of exactly this type, and null."""

    def read(value: Any) -> Any:
        if value is None or type(value) is kind:
            return value
        raise Unreadable(expected)

    return read


def _read_tags(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(tag, str) for tag in value):
        return tuple(value)
    raise Unreadable("a list of strings")


text = Sent(_require_type(str, "a string"), {"type": ["string", "null"]})
flag = Sent(_require_type(bool, "true or false"), {"type": ["boolean", "null"]})
number = Sent(_require_type(int, "a whole number"), {"type": ["integer", "null"]})
texts = Sent(_read_tags, {"type": ["array", "null"], "items": {"type": "string"}})

EDIT = bare(
    "runner",
    name=text,
    description=text,
    active=flag.called("isActive"),
    max_timeout_seconds=number.called("maxTimeoutInSec"),
    tags=texts,
    run_untagged=flag.called("runUntagged"),
    locked=flag.called("isLocked"),
    protected=flag.called("isProtected"),
)


def accept_short_names(context: RequestContext) -> Mapping[str, Any]:
    """Return flags that were sent under their names in responses, like `active` instead of `isActive`."""
    names = {"active": "isActive", "locked": "isLocked", "protected": "isProtected"}
    short = [name for name, long in names.items() if context.body.get(long) is None and name in context.body]
    try:
        return {name: flag.read(context.body[name]) for name in short}
    except Unreadable as error:
        raise RequestRejected("REQUEST_INVALID", f"{', '.join(short)} must be {error}.") from None
