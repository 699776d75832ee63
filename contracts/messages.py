"""The four kinds of messages, and the register of event types by name."""

import re
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

Payload = dict[str, Any]

Sensitive = Annotated[str, Field(repr=False)]
"""Text that must not show in a repr: passwords, tokens, secret values. Never in an event."""

SECRET_FIELD = re.compile(r"sealed_.+|.+_sealed|.+_hash")
"""Names of fields that hold ciphertext or a hash of something secret."""

EVENTS: dict[str, type["Event"]] = {}
UPCASTS: dict[tuple[str, int], Callable[[Payload], Payload]] = {}
"""(event name, version) -> function that lifts a payload of that version to the next one."""


def _service_of(module: str) -> str:
    """`contracts.builds` and all inside it speak for the service `builds`."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "contracts" else module.rpartition(".")[2]


class Message(BaseModel):
    """A frozen message. Unknown fields are ignored, because a later release may have added them to an answer.

    A class that was renamed after its release keeps its released name on the wire: `class New(Event, wire_name="Old")`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)
    service: ClassVar[str] = ""
    wire_name: ClassVar[str] = ""
    """The name in subjects, in the log and in answers."""

    def __init_subclass__(cls, wire_name: str = "", **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.service = _service_of(cls.__module__)
        cls.wire_name = wire_name or cls.__name__

    def replace(self, **changes: Any) -> Self:
        return self.model_copy(update=changes)


class Command(Message):
    """A wish; a field that it does not know is refused. Those that the service fills in have a default that says so."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def subject(cls) -> str:
        return f"cmd.{cls.service}.{cls.wire_name}"


class Query(Message):
    """A question; it changes nothing. A field that it does not know is refused."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def subject(cls) -> str:
        return f"qry.{cls.service}.{cls.wire_name}"

    def target_subject(self) -> str:
        """Where this one is sent."""
        return self.subject()


class Event(Message):
    """A fact. A released one is never edited: a new optional field, or a new version with upcast and golden file."""

    schema_version: ClassVar[int] = 1
    personal: ClassVar[frozenset[str]] = frozenset()
    """Text fields that are sealed in the log under the stream's own key, so that deleting the key erases them."""

    def __init_subclass__(cls, wire_name: str = "", **options: Any) -> None:
        super().__init_subclass__(wire_name=wire_name, **options)
        known = EVENTS.setdefault(cls.wire_name, cls)
        if known.__module__ != cls.__module__:
            raise TypeError(f"two events are called {cls.wire_name}: event names are unique in the whole system")


class ReadModelRow(Message):
    """One line of a view: what people read about one stream."""


class CommandReply(Message):
    """The answer to a command: where it was recorded and the row of its main view after it."""

    stream: str
    version: int
    row: Payload


class Page(Message):
    """A slice of a list and how many there are in all."""

    rows: tuple[Payload, ...]
    total: int


@cache
def secret_fields(message: type[Message]) -> frozenset[str]:
    """What nobody gets to read: ciphertext, hashes, and whatever shows in no repr."""
    fields = message.model_fields.items()
    return frozenset(name for name, field in fields if SECRET_FIELD.fullmatch(name) or not field.repr)


def personal_fields(event: str) -> frozenset[str]:
    return EVENTS[event].personal if event in EVENTS else frozenset()


class UnknownEvent(Exception):
    """A later release recorded it: this one cannot read it, and does not guess."""


def parse_event(name: str, version: int, payload: Payload) -> Event:
    """Read an event of any released version. Raises UnknownEvent for what only a later release declares."""
    event_type = EVENTS.get(name)
    if event_type is None or version > event_type.schema_version:
        raise UnknownEvent(f"{name} in version {version}")
    while version < event_type.schema_version:
        payload = UPCASTS[name, version](payload)
        version += 1
    return event_type.model_validate(payload)
