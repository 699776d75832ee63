"""Generated documents match the declarations in the code."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft7Validator, Draft202012Validator, Registry
from pydantic.json_schema import models_json_schema

import gateway
from contracts import builds as build_contract
from contracts.builds import BuildFinished, GetBuild, QueueBuild
from contracts.errors import CODES
from contracts.heartbeat import Heartbeat
from contracts.history import GetActivity, GetCommandReply, GetHistory, GetState
from contracts.identity import ChangePassword, GetUser, LogIn, UserRegistered
from contracts.messages import Command, Event, Payload, Query
from contracts.process_status import GetProcessStatus
from contracts.projects import IGNORE_REASONS, GetJobSecrets, GetLaunchSettings
from infra.docgen import error_codes, generator, message_reference
from infra.docgen.asyncapi.document import build_document
from infra.docgen.asyncapi.requests import Request, list_requests
from infra.docgen.call_graph import (
    find_imported_messages,
    find_issued_commands,
    find_matched_events,
    find_sent_messages,
    reachable_sources,
)
from infra.docgen.declarations import ServiceDeclaration, collect_declarations, event_types, find_unhandled
from infra.docgen.field_descriptions import DESCRIPTIONS
from infra.docgen.field_types import describe_fields, sealed_fields
from infra.docgen.golden_samples import build_sample, golden_path
from infra.docgen.message_reference import find_undeclared_calls
from infra.service_catalog import PUBLIC_SERVICES, load_services
from services.builds.app import service as builds
from services.identity.app import service as identity
from services.notifications.app import service as notifications
from services.notifications.domain.internal_commands import RequestNotification
from services.notifications.policies import on_build_finished

DECLARED = collect_declarations(load_services())
EVENTS = [event for declared in DECLARED for event in declared.events]
SCHEMA = json.loads((generator.ROOT / "tests" / "unit" / "docs" / "schemas" / "asyncapi-3.0.0.json").read_text())

VALIDATOR = Draft7Validator(SCHEMA)
DOCUMENT_URI = "urn:asyncapi"


@pytest.fixture(scope="module")
def document() -> Payload:
    return build_document(DECLARED)


@pytest.fixture(scope="module")
def registry(document: Payload) -> Registry:
    """Return a registry with the document, so that schemas can refer to it.

    A schema that contained the document would make each validator compile all of it.
    """
    return Registry([(DOCUMENT_URI, document)])


def schema_errors(document: Payload) -> Iterator[str]:
    return (f"{error.instance_path}: {error.message}" for error in VALIDATOR.iter_errors(document))


def test_the_asyncapi_document_follows_the_official_schema(document: Payload) -> None:
    assert list(schema_errors(document)) == []


def test_the_official_schema_rejects_an_invalid_document(document: Payload) -> None:
    assert list(schema_errors(document | {"channels": {"wrong": {"address": 7}}})) != []


EXPLAINS_ITSELF = {
    *("command", "provider", "value", "variables"),
    *("artifacts", "caches", "exclude", "fallback_keys", "key", "paths", "policy", "pull_policy", "untracked"),
}


def test_event_fields_are_described(document: Payload) -> None:
    messages = {message.__name__ for declared in DECLARED for message in declared.messages}
    known = messages & models_json_schema([(event, "serialization") for event in EVENTS])[1]["$defs"].keys()
    undescribed = {
        field
        for name, schema in document["components"]["schemas"].items()
        if name in known
        for field, schema_ in schema.get("properties", {}).items()
        if "description" not in schema_
    }
    assert undescribed == EXPLAINS_ITSELF


def test_every_field_description_is_used(document: Payload) -> None:
    schemas = document["components"]["schemas"]
    descriptions = {
        schema_.get("description", "")
        for schema in schemas.values()
        for schema_ in schema.get("properties", {}).values()
    }
    assert [name for name, words in DESCRIPTIONS.items() if words not in descriptions] == []


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_a_golden_sample_and_the_example_fit_the_schema_of_the_message(
    document: Payload, registry: Registry, event: type[Event]
) -> None:
    stored = json.loads(golden_path(generator.ROOT / "contracts" / "golden", event).read_text())
    example = document["components"]["messages"][event.wire_name]["examples"][0]["payload"]
    validator = Draft202012Validator(
        {"$ref": f"{DOCUMENT_URI}#/components/schemas/{event.__name__}"}, registry=registry
    )
    for payload in (stored, example):
        validator.validate(payload)


@pytest.mark.parametrize("request_", list_requests(DECLARED), ids=lambda request: request.subject)
def test_the_example_of_a_request_fits_its_schema(document: Payload, registry: Registry, request_: Request) -> None:
    channel = document["channels"][request_.key]
    assert channel["address"] == request_.subject
    message = document["components"]["messages"][request_.key]
    validator = Draft202012Validator(
        {"$ref": f"{DOCUMENT_URI}#/components/messages/{request_.key}/payload"}, registry=registry
    )
    for example in message["examples"]:
        validator.validate(example["payload"])


def test_all_references_lead_to_a_part_of_the_document(document: Payload) -> None:
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))):
        part: Any = document
        for name in reference.split("/"):
            part = part[name]


def test_every_event_command_and_query_has_a_channel_with_its_subject(document: Payload) -> None:
    addresses = {channel["address"] for channel in document["channels"].values()}
    events = {f"evt.{event.service}.{{stream}}.{event.wire_name}" for event in EVENTS}
    emptied = {f"evt.{declared.name}.stream.Emptied" for declared in DECLARED}
    common = (GetActivity, GetCommandReply, GetHistory, GetProcessStatus, GetState, Heartbeat)
    requests = {f"qry.{{service}}.{query.wire_name}" for query in common}
    for declared in DECLARED:
        requests |= {command.subject() for command in declared.commands}
        requests |= {query.subject() for query in declared.queries}
    assert addresses == events | emptied | requests | {None}


def test_a_request_names_its_replies(document: Payload) -> None:
    def replies(request: str) -> list[str]:
        references = document["operations"][request]["reply"]["messages"]
        return [reference["$ref"].rpartition("/")[2] for reference in references]

    assert replies("cmd.builds.QueueBuild") == ["CommandReply", "Failure"]
    assert replies("qry.identity.GetUser") == ["UserView", "Failure"]


def test_encrypted_fields_are_marked(document: Payload) -> None:
    properties = document["components"]["schemas"]["UserRegistered"]["properties"]
    marked = [name for name, schema in properties.items() if schema.get("x-sealed")]
    assert marked == ["sealed_password_hash", "email", "github_username", "gitlab_username"]


def test_a_reaction_lists_its_events_and_commands() -> None:
    assert (find_matched_events(on_build_finished), find_issued_commands(on_build_finished)) == (
        [BuildFinished],
        [RequestNotification],
    )


def test_queries_of_a_worker_are_found_through_called_functions() -> None:
    assert GetUser in find_sent_messages(notifications.workers[0].run)


def test_queries_of_a_method_are_found_through_its_object() -> None:
    planner = next(worker for worker in builds.workers if worker.name == "planner")
    assert GetJobSecrets in find_sent_messages(planner.run)


def test_queries_of_the_preparation_of_a_command_are_found() -> None:
    [launch] = [flow for flow in builds.command_flows if flow.command is QueueBuild]
    assert GetLaunchSettings in find_sent_messages(launch.prepare)


WRITING_CALLS = frozenset(
    {
        *("insert_one", "insert_many", "update_one", "update_many", "replace_one", "delete_one", "delete_many"),
        *("find_one_and_update", "find_one_and_replace", "find_one_and_delete", "bulk_write"),
    }
)


def find_writing_calls(function: Any) -> list[str]:
    sent = [message.wire_name for message in find_sent_messages(function) if issubclass(message, Command)]
    nodes = (node for tree, _ in reachable_sources([function]) for node in ast.walk(tree))
    return sent + [node.attr for node in nodes if isinstance(node, ast.Attribute) and node.attr in WRITING_CALLS]


def test_no_query_sends_a_command_or_writes() -> None:
    handlers = [handler for declared in DECLARED for handler in declared.service.handlers]
    queries = [handler for handler in handlers if issubclass(handler.message, Query)]
    assert {handler.message.wire_name: find_writing_calls(handler.run) for handler in queries} == {
        handler.message.wire_name: [] for handler in queries
    }


def test_the_write_of_a_command_is_found() -> None:
    [log_in] = [handler for handler in identity.handlers if handler.message is LogIn]
    assert "find_one_and_update" in find_writing_calls(log_in.run)


def test_a_secret_field_is_marked_as_secret() -> None:
    assert "`password: text? = null` (secret)" in describe_fields(ChangePassword)


def test_personal_and_encrypted_fields_count_as_encrypted() -> None:
    assert sealed_fields(UserRegistered) == ["sealed_password_hash", "email", "github_username", "gitlab_username"]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_a_generated_sample_is_deterministic(event: type[Event]) -> None:
    assert build_sample(event) == build_sample(event)


def test_every_contract_message_is_handled_by_its_service() -> None:
    assert list(find_unhandled(DECLARED)) == []


def test_an_unhandled_message_is_reported() -> None:
    incomplete = ServiceDeclaration(type(builds)("builds", categories=builds.categories))
    assert GetBuild in list(find_unhandled([incomplete]))


def test_every_message_is_documented() -> None:
    text = message_reference.render(DECLARED, find_imported_messages(gateway))
    named = set(re.findall(r"^\| `(?:evt\.[a-z]+\.[^.]+\.)?(\w+)`", text, re.MULTILINE))
    assert {message.wire_name for declared in DECLARED for message in declared.messages} <= named


def test_the_documented_events_of_a_stream_match_its_evolve_function() -> None:
    category = next(category for category in builds.categories if category.name == "lane")
    assert set(event_types(category)) == {
        build_contract.ConcurrencySlotRequested,
        build_contract.ConcurrencySlotGranted,
        build_contract.ConcurrencySlotReleased,
    }


def test_every_error_code_is_documented() -> None:
    assert set(re.findall(r"^\| `(\w+)`", error_codes.render(), re.MULTILINE)) == {*CODES, *IGNORE_REASONS}


def test_the_documentation_check_reports_missing_files(tmp_path: Path) -> None:
    (tmp_path / "contracts").mkdir()
    documents = {tmp_path / "docs" / "operating" / "error-codes.md": error_codes.render()}
    problems = list(generator.find_outdated_files(tmp_path, EVENTS, documents))
    assert "contracts/golden/BuildQueued.v1.json is missing" in "\n".join(problems)
    assert "docs/operating/error-codes.md is out of date; run `make docs`.\n--- current" in "\n".join(problems)


def test_a_golden_sample_is_never_overwritten(tmp_path: Path) -> None:
    stored = tmp_path / "contracts" / "golden" / "BuildQueued.v1.json"
    stored.parent.mkdir(parents=True)
    stored.write_text("as it was released")
    written = list(generator.write_missing_samples(tmp_path))
    assert stored not in written
    assert stored.read_text() == "as it was released"


def test_declared_calls_match_the_code() -> None:
    assert [line for declared in DECLARED for line in find_undeclared_calls(declared)] == []


def test_an_undeclared_or_unused_call_is_reported() -> None:
    wrong = ServiceDeclaration(replace(notifications, outgoing=(GetJobSecrets,)))
    assert [line.split(":")[0] for line in find_undeclared_calls(wrong)] == [
        "GetBuild is among what notifications sends but does not declare",
        "GetCompany is among what notifications sends but does not declare",
        "GetForge is among what notifications sends but does not declare",
        "GetJobSecrets is among what notifications declares but does not send",
        "GetLaunchSettings is among what notifications sends but does not declare",
        "GetPreviousResult is among what notifications sends but does not declare",
        "GetProjectAccess is among what notifications sends but does not declare",
        "GetUser is among what notifications sends but does not declare",
    ]


def test_the_command_line_knows_which_events_are_public() -> None:
    assert [declared.name for declared in DECLARED if declared.service.is_public] == list(PUBLIC_SERVICES)
