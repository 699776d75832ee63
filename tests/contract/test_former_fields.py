"""Commands of the previous release are accepted: its gateways run beside the new services during an upgrade."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic_core import to_json

from contracts.builds import LaunchVariable, QueueBuild
from contracts.identity import AddSshKey, RegisterUser
from contracts.messages import Command, parse_request
from contracts.projects import CreateProject, RetentionLimits
from infra.service_catalog import load_services

RELEASED: dict[str, list[str]] = json.loads(
    (Path(__file__).parents[1] / "releases" / "0.2.0" / "commands.json").read_text()
)
"""The commands of 0.2.0 that other processes may send, with the fields of each. Senders include all fields."""


def accepted_commands() -> Iterator[tuple[str, type[Command]]]:
    for service in load_services():
        for message in service.messages:
            if issubclass(message, Command):
                yield f"{service.name}.{message.wire_name}", message


ACCEPTED = dict(accepted_commands())


@pytest.mark.parametrize("name", sorted(RELEASED))
def test_every_field_of_the_previous_release_is_known_or_ignored(name: str) -> None:
    assert set(RELEASED[name]) <= {*ACCEPTED[name].model_fields, *ACCEPTED[name].former_fields}


@pytest.mark.parametrize("name", sorted(name for name, command in ACCEPTED.items() if command.former_fields))
def test_an_ignored_field_was_sent_by_the_previous_release(name: str) -> None:
    assert ACCEPTED[name].former_fields <= set(RELEASED[name])


def test_a_field_that_the_service_fills_in_is_ignored_and_cannot_be_set() -> None:
    sent = {"username": "ivan", "user_id": 7, "user_uuid": "", "sealed_password_hash": "forged"}
    assert parse_request(RegisterUser, to_json(sent)) == RegisterUser(username="ivan")


def test_types_that_json_lacks_are_parsed_beside_an_ignored_field() -> None:
    sent = {"user_id": 7, "expires_at": "2030-05-01", "key_uuid": "", "today": "0001-01-01"}
    assert str(parse_request(AddSshKey, to_json(sent)).expires_at) == "2030-05-01"


def test_a_new_project_without_limits_of_retention_has_no_fields_for_them() -> None:
    plain = set(CreateProject().model_dump(mode="json"))
    assert plain.isdisjoint(RetentionLimits.model_fields)
    assert set(CreateProject(keep_log_days=0).model_dump(mode="json")) - plain == {"keep_log_days"}


def test_a_launch_without_variables_is_accepted_by_the_previous_release() -> None:
    released = set(RELEASED["builds.QueueBuild"])
    assert set(QueueBuild(project_id=1).model_dump(mode="json")) <= released
    given = QueueBuild(project_id=1, variables=(LaunchVariable(name="A", value="b"),))
    assert set(given.model_dump(mode="json")) - released == {"variables"}
