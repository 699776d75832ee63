"""Base classes of commands, queries, events and rows, and the registry of event types.

The docstring of a command or query lists the error codes of its service after "Errors:". It leaves out the codes that
any message can get: REQUEST_INVALID for a malformed field, for which the gateway often has a more exact code, FORBIDDEN
for an actor without the permission, NOT_FOUND for an object that was removed from the log, CONFLICT,
IDEMPOTENCY_KEY_REUSED, ANSWER_TOO_LARGE, and codes of outages.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer
from pydantic_core import from_json, to_json

Payload = dict[str, Any]

Sensitive = Annotated[str, Field(repr=False)]
"""Text that is excluded from the repr: passwords, tokens, secret values. Never in an event."""

SECRET_FIELD = re.compile(r"sealed_.+|.+_sealed|.+_hash")
"""Names of fields with ciphertext or a hash of a secret."""

EVENTS: dict[str, type["Event"]] = {}
UPCASTS: dict[tuple[str, int], Callable[[Payload], Payload]] = {}
"""(event name, version) -> function that converts a payload of that version to the next version."""


def _service_of(module: str) -> str:
    """Return the service of a module: `builds` for `contracts.builds` and the modules in it."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "contracts" else module.rpartition(".")[2]


class Message(BaseModel):
    """A frozen message. It ignores unknown fields, which a later release may have added, unless a subclass forbids it.

    A class renamed after its release keeps the released name on the wire: `class New(Event, wire_name="Old")`.
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


M = TypeVar("M", bound=Message)


class Command(Message):
    """A request to change something. Unknown fields are rejected."""

    model_config = ConfigDict(extra="forbid")
    former_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields that senders of the previous release include and that have no effect."""
    former_subject: ClassVar[str] = ""
    """The subject on which gateways of the previous release send this command, if it was a query there."""

    @classmethod
    def subject(cls) -> str:
        return f"cmd.{cls.service}.{cls.wire_name}"


class Query(Message):
    """A request for information. Unknown fields are rejected."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def subject(cls) -> str:
        return f"qry.{cls.service}.{cls.wire_name}"

    def target_subject(self) -> str:
        """Return the subject on which this query is sent."""
        return self.subject()


class Event(Message):
    """A recorded fact. A released event changes only by new optional fields, or by a new version with an upcast."""

    schema_version: ClassVar[int] = 1
    personal: ClassVar[frozenset[str]] = frozenset()
    """Text fields that the log encrypts with the stream's own key, so that deleting the key erases them."""
    erasable: ClassVar[frozenset[str]] = frozenset()
    """Text fields with the name of a user. They are empty in published events, and in the log after the user was
    erased."""
    omitted: ClassVar[frozenset[str]] = frozenset()
    """Text fields with names of users, which are always empty. Releases up to 0.2.0 recorded them."""

    def for_publication(self) -> Self:
        """Return the event without the names of users, because an erasure could not remove them from JetStream."""
        return self.replace(**dict.fromkeys(self.erasable, "")) if self.erasable else self

    def for_hint(self) -> Self:
        """Return the event without the fields that the receivers of its hint do not need."""
        return self

    def __init_subclass__(cls, wire_name: str = "", **options: Any) -> None:
        super().__init_subclass__(wire_name=wire_name, **options)
        known = EVENTS.setdefault(cls.wire_name, cls)
        if known.__module__ != cls.__module__:
            raise TypeError(f"two events are called {cls.wire_name}: event names are unique in the whole system")


class ChangedFields(Message):
    """Base class of events and commands with the fields that change.

    The JSON of such a message has no other fields: a missing field is unchanged.
    """

    @model_serializer(mode="wrap")
    def _omit_unchanged(self, serialize: SerializerFunctionWrapHandler) -> Payload:
        return {name: value for name, value in serialize(self).items() if name in self.model_fields_set}


class ReadModelRow(Message):
    pass


class CommandReply(Message):
    """The reply to a command: the changed stream, its version after the command, and its read model row."""

    stream: str
    version: int
    row: Payload


class Page(Message):
    rows: tuple[Payload, ...]
    total: int = 0  # number of rows in the whole list; 0 unless the request has `counted`
    next: str | None = None  # `after` of the next page; None: the list ends here


def parse_request(message_type: type[M], body: bytes) -> M:
    """Parse the JSON of a command or query, without fields that only senders of the previous release include."""
    former = message_type.former_fields if issubclass(message_type, Command) else frozenset()
    if former and isinstance(fields := from_json(body), dict):
        body = to_json({name: value for name, value in fields.items() if name not in former})
    return message_type.model_validate_json(body)


@cache
def secret_fields(message: type[Message]) -> frozenset[str]:
    """Return the fields that histories and states leave out: ciphertext, hashes, and fields excluded from the repr."""
    fields = message.model_fields.items()
    return frozenset(name for name, field in fields if SECRET_FIELD.fullmatch(name) or not field.repr)


def personal_fields(event: str) -> frozenset[str]:
    return EVENTS[event].personal if event in EVENTS else frozenset()


def erasable_fields(event: str) -> frozenset[str]:
    return EVENTS[event].erasable if event in EVENTS else frozenset()


def omitted_fields(event: str) -> frozenset[str]:
    return EVENTS[event].omitted if event in EVENTS else frozenset()


class UnknownEvent(Exception):
    """The event was recorded by a later release, and this release cannot read it."""


def parse_event(name: str, version: int, payload: Payload) -> Event:
    """Parse an event of any released version. Raises UnknownEvent for names and versions of later releases."""
    event_type = EVENTS.get(name)
    if event_type is None or version > event_type.schema_version:
        raise UnknownEvent(f"{name} in version {version}")
    while version < event_type.schema_version:
        payload = UPCASTS[name, version](payload)
        version += 1
    return event_type.model_validate(payload)
