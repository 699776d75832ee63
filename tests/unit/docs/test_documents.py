"""The generated documents say what the declarations say."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from contracts import builds as build_contract
from contracts.builds import BuildFinished, GetBuild, QueueBuild
from contracts.errors import CODES
from contracts.identity import ChangePassword, GetUser, UserRegistered
from contracts.messages import Event, Payload
from contracts.notifications import RequestNotification
from contracts.projects import IGNORED, GetJobSecrets, GetLaunchSettings
from infra import docs
from infra.documents import asyncapi, errors
from infra.documents.declared import Declared, events_of, gather, unanswered
from infra.documents.fields import fields, sealed
from infra.documents.meanings import MEANINGS
from infra.documents.messages import undeclared
from infra.documents.reading import known_to, sent_by
from infra.documents.samples import golden_file, sample
from infra.entry import PUBLIC
from infra.migrate import all_services
from services.builds.app import service as builds
from services.notifications.app import service as notifications
from services.notifications.policies import on_build

DECLARED = gather(all_services())
EVENTS = [event for one in DECLARED for event in one.events]
SCHEMA = json.loads((docs.ROOT / "tests" / "schemas" / "asyncapi-3.0.0.json").read_text())

VALIDATOR = Draft7Validator(SCHEMA)


@pytest.fixture(scope="module")
def document() -> Payload:
    return asyncapi.document(DECLARED)


def errors_in(document: Payload) -> Iterator[str]:
    return (f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(document))


# ---- AsyncAPI


def test_the_asyncapi_document_follows_the_official_schema(document: Payload) -> None:
    assert list(errors_in(document)) == []


def test_the_official_schema_notices_a_wrong_document(document: Payload) -> None:
    assert list(errors_in(document | {"channels": {"wrong": {"address": 7}}})) != []


EXPLAINS_ITSELF = {
    *("command", "provider", "value", "variables"),  # and what the spec file says, in its own words:
    *("artifacts", "caches", "exclude", "fallback_keys", "key", "paths", "policy", "pull_policy", "untracked"),
}


def test_the_fields_of_events_say_what_they_hold(document: Payload) -> None:
    known = {message.__name__: message for one in DECLARED for message in one.messages}
    silent = {
        field
        for name, schema in document["components"]["schemas"].items()
        if name in known
        for field, one in schema.get("properties", {}).items()
        if "description" not in one
    }
    assert silent == EXPLAINS_ITSELF


def test_nothing_is_said_about_a_field_that_is_not_there(document: Payload) -> None:
    schemas = document["components"]["schemas"]
    said = {one.get("description", "") for schema in schemas.values() for one in schema.get("properties", {}).values()}
    assert [name for name, words in MEANINGS.items() if words not in said] == []


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_a_golden_sample_and_the_example_fit_the_schema_of_the_message(document: Payload, event: type[Event]) -> None:
    kept = json.loads(golden_file(docs.ROOT / "contracts" / "golden", event).read_text())
    shown = document["components"]["messages"][event.wire_name]["examples"][0]["payload"]
    schema = {"$ref": f"#/components/schemas/{event.__name__}", "components": document["components"]}
    for one in (kept, shown):
        Draft202012Validator(schema).validate(one)


def test_every_event_has_a_channel_with_its_subject(document: Payload) -> None:
    addresses = {channel["address"] for channel in document["channels"].values()}
    emptied = {f"evt.{one.name}.stream.Emptied" for one in DECLARED}
    assert addresses == {f"evt.{event.service}.{{stream}}.{event.wire_name}" for event in EVENTS} | emptied


def test_sealed_fields_are_marked(document: Payload) -> None:
    properties = document["components"]["schemas"]["UserRegistered"]["properties"]
    marked = [name for name, schema in properties.items() if schema.get("x-sealed")]
    assert marked == ["sealed_password_hash", "email", "github_username", "gitlab_username"]


# ---- reading of code


def test_a_reaction_tells_which_events_it_knows_and_what_it_leads_to() -> None:
    assert (known_to(on_build), sent_by(on_build)) == ([BuildFinished], [RequestNotification])


def test_what_a_worker_asks_is_found_through_functions_it_calls() -> None:
    assert GetUser in sent_by(notifications.workers[0].work)


def test_what_a_method_asks_is_found_through_its_object() -> None:
    planner = next(worker for worker in builds.workers if worker.name == "planner")
    assert GetJobSecrets in sent_by(planner.work)


def test_what_a_command_needs_before_it_is_decided_is_found() -> None:
    assert GetLaunchSettings in sent_by(builds.prepare[QueueBuild])


# ---- fields


def test_a_secret_field_is_marked_as_one() -> None:
    assert "`password: text? = null` (secret)" in fields(ChangePassword)


def test_personal_and_sealed_fields_count_as_sealed() -> None:
    assert sealed(UserRegistered) == ["sealed_password_hash", "email", "github_username", "gitlab_username"]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_a_sample_is_the_same_at_every_run(event: type[Event]) -> None:
    assert sample(event) == sample(event)


# ---- Markdown


def test_every_message_of_the_contracts_is_taken_by_its_service() -> None:
    assert list(unanswered(DECLARED)) == []


def test_a_message_that_nobody_takes_is_found() -> None:
    deaf = Declared(type(builds)("builds", categories=builds.categories))
    assert GetBuild in list(unanswered([deaf]))


def test_every_message_has_a_line() -> None:
    text = docs.generate()[docs.ROOT / "docs" / "MESSAGES.md"]
    named = set(re.findall(r"^\| `(?:evt\.[a-z]+\.[^.]+\.)?(\w+)`", text, re.MULTILINE))
    assert {message.wire_name for one in DECLARED for message in one.messages} <= named


def test_the_events_of_a_stream_are_those_its_evolve_takes() -> None:
    category = next(one for one in builds.categories if one.name == "lane")
    assert set(events_of(category)) == {
        build_contract.LaneRequested,
        build_contract.LaneGranted,
        build_contract.LaneReleased,
    }


def test_every_code_has_a_line() -> None:
    assert set(re.findall(r"^\| `(\w+)`", errors.text(), re.MULTILINE)) == {*CODES, *IGNORED}


# ---- the command


def test_the_documents_in_the_repository_are_up_to_date() -> None:
    assert list(docs.complaints()) == []


def test_the_check_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "contracts").mkdir()
    found = list(docs.complaints(tmp_path))
    assert "contracts/golden/BuildQueued.v1.json is missing" in "\n".join(found)
    assert "docs/ERRORS.md is out of date; run `make docs`.\n--- as it is" in "\n".join(found)


def test_a_golden_sample_is_never_overwritten(tmp_path: Path) -> None:
    kept = tmp_path / "contracts" / "golden" / "BuildQueued.v1.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("as it was released")
    written = list(docs.write_missing_golden(tmp_path))
    assert kept not in written
    assert kept.read_text() == "as it was released"


# ---- permissions


def test_the_declared_calls_are_those_of_the_code() -> None:
    assert [line for one in DECLARED for line in undeclared(one)] == []


def test_a_call_that_is_missing_in_the_declaration_or_in_the_code_is_told() -> None:
    wrong = Declared(replace(notifications, calls=(GetJobSecrets,)))
    assert [line.split(":")[0] for line in undeclared(wrong)] == [
        "GetJobSecrets is among what notifications declares, but does not send",
        "GetUser is among what notifications sends, but does not declare",
    ]


def test_the_command_line_knows_which_events_are_public() -> None:
    assert [one.name for one in DECLARED if one.service.public] == list(PUBLIC)
