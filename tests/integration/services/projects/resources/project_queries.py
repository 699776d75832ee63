"""Commands and queries to the projects service that several tests send."""

import pytest

from contracts.errors import RequestRejected
from contracts.messages import Command, CommandReply, Query
from contracts.projects import (
    GetProject,
    GetSecret,
    ProjectView,
    SecretView,
)
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import MessageClient

ROOT = Actor(1, "root", ("ROLE_ADMIN",))


async def send_for_id(caller: MessageClient, command: Command) -> int:
    return int(CommandReply.model_validate_json(await caller.send(command, actor=ROOT)).row["id"])


async def get_error_code(caller: MessageClient, message: Command | Query) -> str:
    with pytest.raises(RequestRejected) as refused:
        await (caller.send(message) if isinstance(message, Command) else caller.query(message))
    return refused.value.code


async def get_project(caller: MessageClient, project_id: int, *, reveal: bool = False) -> ProjectView:
    return ProjectView.model_validate_json(await caller.query(GetProject(project_id=project_id, reveal=reveal)))


async def get_secret(caller: MessageClient, secret_id: int) -> SecretView:
    return SecretView.model_validate_json(await caller.query(GetSecret(secret_id=secret_id)))
