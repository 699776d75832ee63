"""A message whose answer replaces the reply to a command is checked when the route is declared."""

from typing import Annotated

import pytest
from fastapi import APIRouter, Security

from contracts.builds import GetBuild
from contracts.errors import RequestRejected
from contracts.messages import Command, Message, Query
from contracts.projects import GetProject, GetSecret, ListSecrets, RenameSecret, RevealSecret, SetSecretProjects
from gateway.dependencies import admin
from gateway.forwarding.forward import forward
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import ReturnMessage

Admin = Annotated[Actor, Security(admin)]
KNOWN: dict[str, type[Command] | type[Query]] = {"GetProject": GetProject, "RevealSecret": RevealSecret}


def add_route(message: type[Command] | type[Query], return_message: ReturnMessage) -> None:
    method = "PATCH" if issubclass(message, Command) else "GET"
    forward(APIRouter(), method, "/{secret_id:id}", message, Admin, "Test.", return_message=return_message)


@pytest.mark.parametrize("message", [GetSecret, RevealSecret])
def test_a_query_or_command_of_the_same_service_may_follow_a_command(message: type[Command] | type[Query]) -> None:
    add_route(RenameSecret, ReturnMessage(message, "secret_id"))


def test_a_message_of_another_service_cannot_follow_a_command() -> None:
    with pytest.raises(TypeError, match="GetBuild cannot follow"):
        add_route(RenameSecret, ReturnMessage(GetBuild, "build_id"))


def test_no_message_can_follow_a_query() -> None:
    with pytest.raises(TypeError, match="cannot follow ListSecrets"):
        add_route(ListSecrets, ReturnMessage(GetSecret, "secret_id"))


def test_the_id_field_and_the_fixed_fields_must_exist() -> None:
    with pytest.raises(TypeError, match="GetSecret has no field project_id"):
        ReturnMessage(GetSecret, "project_id")
    with pytest.raises(TypeError, match="GetSecret has no field reveal"):
        ReturnMessage(GetSecret, "secret_id", reveal=True)


def test_every_required_field_needs_a_value() -> None:
    with pytest.raises(TypeError, match="ChooseSecretProjects needs a value for projects_id"):
        ReturnMessage(SetSecretProjects, "secret_id")


def test_the_service_reads_the_message_with_the_id_of_the_stream() -> None:
    header = ReturnMessage(GetProject, "project_id", reveal=True).header
    parsed: Message = ReturnMessage.parse(header, KNOWN).about("project-7")
    assert parsed == GetProject(project_id=7, reveal=True)


@pytest.mark.parametrize("header", ["", "{}", "[1]", '["GetBuild", "build_id", {}]', '["GetProject", "id", {}]'])
def test_an_invalid_header_is_rejected(header: str) -> None:
    with pytest.raises(RequestRejected) as rejection:
        ReturnMessage.parse(header, KNOWN)
    assert rejection.value.code == "REQUEST_INVALID"
