"""Every released version of an event can be read: its golden sample is parsed."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from contracts.messages import EVENTS, UnknownEvent, parse_event
from infra.docgen.generator import ROOT
from infra.service_catalog import SERVICES

for service in SERVICES:
    import_module(f"contracts.{service}")
RELEASED = sorted(
    (event.wire_name, version)
    for event in EVENTS.values()
    if event.service in SERVICES
    for version in range(1, event.schema_version + 1)
)
GOLDEN = sorted((ROOT / "contracts" / "golden").glob("*.json"))


@pytest.mark.parametrize(("name", "version"), RELEASED)
def test_every_released_version_has_a_golden_sample(name: str, version: int) -> None:
    assert (ROOT / "contracts" / "golden" / f"{name}.v{version}.json") in GOLDEN


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_every_golden_sample_is_readable(file: Path) -> None:
    name, _, version = file.stem.partition(".v")
    event = parse_event(name, int(version), json.loads(file.read_text()))
    assert type(event) is EVENTS[name]


def add_unknown_members(payload: Any) -> Any:
    match payload:
        case dict():
            members = {name: add_unknown_members(value) for name, value in payload.items()}
            return {**members, "ADDED_LATER": "something"}
        case list():
            return [add_unknown_members(value) for value in payload]
        case _:
            return payload


@pytest.mark.parametrize(("name", "version"), [("NobodyDeclaredThis", 1), ("BuildKilled", 99)])
def test_an_unknown_event_or_version_is_rejected(name: str, version: int) -> None:
    with pytest.raises(UnknownEvent):
        parse_event(name, version, {"build_id": 1, "project_id": 1})


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_unknown_fields_of_a_later_release_are_ignored(file: Path) -> None:
    name, _, version = file.stem.partition(".v")
    event = parse_event(name, int(version), add_unknown_members(json.loads(file.read_text())))
    assert type(event) is EVENTS[name]


@pytest.mark.parametrize(
    "file",
    [file for file in GOLDEN if file.stem.endswith(f".v{EVENTS[file.stem.partition('.v')[0]].schema_version}")],
    ids=lambda file: file.stem,
)
def test_current_golden_samples_round_trip(file: Path) -> None:
    payload = json.loads(file.read_text())
    event = EVENTS[file.stem.partition(".v")[0]].model_validate(payload)
    # the sample lacks fields that were added to the event later
    assert event.model_dump(mode="json", exclude_unset=True) == payload
