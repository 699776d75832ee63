"""Histories show no secrets: every field whose name suggests a secret is hidden or declared harmless."""

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from contracts.history import aggregate_types
from contracts.messages import EVENTS, Message, ReadModelRow, Sensitive, secret_fields
from infra.service_catalog import load_services
from libs.eventstore.history import redact_message
from libs.service.declaration import Service

SERVICES = load_services()

SECRET_WORDS = re.compile(
    r"(^|_)(auth|cipher|ciphertext|code|credential|digest|hash|hmac|key|login|pass|passphrase|password|pem|private|salt"
    r"|sealed|secret|session|sig|signature|token|value|variables)s?(_|$)"
)
HARMLESS = re.compile(
    # Matches fields that may be shown although a word such as "key" or "token" in their name suggests a secret.
    r".*_ids?|.*_uuid|tokens|keys|((exit|response)_)?code|allow_failure_codes|digest|public_key|forge_secret|(alias|email|github|gitlab|owner|username)_key"
)

IN_THE_REPOSITORY = {
    *(
        "PlannedJob.variables",
        "PlannedImage.variables",
        "PlannedJob.retry_codes",
        "PlannedVariable.key",
        "PlannedVariable.value",
    ),
    *("PlannedCache.key", "PlannedCache.fallback_keys"),
}
NAMED_AS_PUBLIC = {  # values shown to every user who may see the build or the schedule
    *("BuildQueued.variables", "BuildRow.variables", "LaunchVariable.value"),
    *("ScheduleCreated.variables", "ScheduleChanged.variables", "ScheduleRow.variables", "ScheduleVariable.value"),
}


def nested_messages(annotation: Any) -> Iterator[type[Message]]:
    if isinstance(annotation, type) and issubclass(annotation, Message):
        yield annotation
        for field in annotation.model_fields.values():
            yield from nested_messages(field.annotation)
    for inner in get_args(annotation):
        yield from nested_messages(inner)


def recorded_messages() -> set[type[Message]]:
    rows: list[type[ReadModelRow]] = [
        type(category.initial_row) for service in SERVICES for category in service.categories
    ]
    events = [event for event in EVENTS.values() if event.service in set(aggregate_types().values())]
    return {nested for message in (*events, *rows) for nested in nested_messages(message)}


FIELDS = sorted(f"{message.wire_name}.{name}" for message in recorded_messages() for name in message.model_fields)
SHOWN = {
    f"{message.wire_name}.{name}"
    for message in recorded_messages()
    for name in message.model_fields.keys() - secret_fields(message)
}


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_every_stream_kind_maps_to_its_service(service: Service) -> None:
    assert {kind for kind, owner in aggregate_types().items() if owner == service.name} == {
        category.name for category in service.categories
    }


@pytest.mark.parametrize("field", [field for field in FIELDS if SECRET_WORDS.search(field.partition(".")[2])])
def test_fields_with_secret_sounding_names_are_hidden_or_allowed(field: str) -> None:
    """On failure, name a secret field `sealed_...` or `..._hash` or mark it Sensitive. Add others to HARMLESS."""
    harmless = field in IN_THE_REPOSITORY | NAMED_AS_PUBLIC or bool(HARMLESS.fullmatch(field.partition(".")[2]))
    assert (field in SHOWN) == harmless


class Inner(Message):
    token_hash: str = "hush"
    name: str = "inner"


class Outer(Message):
    sealed_value: str = "hush"
    token_sealed: str = "hush"
    password: Sensitive = "hush"
    within: tuple[Inner, ...] = (Inner(),)
    named: dict[str, Inner]
    count: int = 1


def test_secrets_are_redacted_at_any_depth() -> None:
    assert redact_message(Outer(named={"one": Inner()})) == {
        "within": [{"name": "inner"}],
        "named": {"one": {"name": "inner"}},
        "count": 1,
    }
