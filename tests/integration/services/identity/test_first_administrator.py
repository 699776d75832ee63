"""The first start of the identity service creates an administrator and prints the initial password."""

import asyncio
import io
import re
from collections.abc import AsyncIterator

import pytest

from contracts.identity import ROLES, ListUsers, LogIn
from contracts.messages import Page
from libs.messaging.request_reply import MessageClient
from libs.service.declaration import Service
from libs.service.service_host import serve
from libs.settings import SettingsError
from services.identity.app import service as identity
from services.projects.app import service as projects
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers

PASSWORD_LINE = re.compile(r"^First administrator: admin, password: (\S+)$", re.MULTILINE)


class BrokenPipeStream(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.fixture
async def stage(servers: Servers) -> AsyncIterator[ServiceStage]:
    async with empty_stage(servers) as stage:
        await stage.migrate(identity, projects, Service("builds", categories=()))
        yield stage


async def test_the_password_of_the_first_administrator_is_printed_once(
    stage: ServiceStage, capsys: pytest.CaptureFixture[str]
) -> None:
    async with stage.running(lambda: identity, replicas=2), stage.connected() as bus:
        (administrator,) = Page.model_validate_json(await MessageClient(bus).query(ListUsers())).rows
        assert (administrator["username"], administrator["roles"]) == ("admin", [*ROLES])
    # replicas that start at the same time may both print the password
    (password,) = set(
        re.findall(r"^First administrator: admin, password: (\S+)$", capsys.readouterr().out, re.MULTILINE)
    )
    async with stage.running(lambda: identity), stage.connected() as bus:
        await MessageClient(bus).send(LogIn(username="admin", password=password))
    assert capsys.readouterr().out == ""


async def test_an_initial_password_that_could_not_be_printed_is_printed_at_the_next_start(
    stage: ServiceStage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout", BrokenPipeStream())
        with pytest.raises(BrokenPipeError):
            await serve(identity, stage.settings, asyncio.Event())
    async with stage.running(lambda: identity), stage.connected() as bus:
        (password,) = re.findall(PASSWORD_LINE, capsys.readouterr().out)
        await MessageClient(bus).send(LogIn(username="admin", password=password))


async def test_a_weak_initial_password_stops_the_start_with_one_error_line(stage: ServiceStage) -> None:
    weak = stage.settings.model_copy(update={"admin_password": "short"})
    with pytest.raises(SettingsError, match=r"HEADRACE_ADMIN_PASSWORD is invalid: .*at least 8"):
        await serve(identity, weak, asyncio.Event())
