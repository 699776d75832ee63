"""The first start of identity on real servers: one administrator, whose password is told."""

import asyncio
import io
import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from contracts.identity import ROLES, ListUsers, LogIn, Users
from libs.hosting import serve
from libs.messaging import Caller
from libs.service import Service
from libs.settings import SettingsError
from services.identity.app import service as identity
from services.projects.app import service as projects
from tests.integration.stage import Stage, empty_stage
from tests.support.servers import Servers

TOLD = re.compile(r"^First administrator: admin, password: (\S+)$", re.MULTILINE)


class TornPipe(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.fixture
async def empty(servers: Servers) -> AsyncIterator[Stage]:
    async with empty_stage(servers) as stage:
        await stage.migrate(identity, projects, Service("builds", categories=()))
        yield stage


async def test_the_first_administrator_gets_a_password_that_is_told(
    empty: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    async with empty.running(lambda: identity, replicas=2), empty.connected() as bus:
        (administrator,) = Users.model_validate_json(await Caller(bus).ask(ListUsers())).users
        assert (administrator.username, administrator.roles) == ("admin", ROLES)
    # replicas that start at the same moment may both tell it
    (password,) = set(
        re.findall(r"^First administrator: admin, password: (\S+)$", capsys.readouterr().out, re.MULTILINE)
    )
    async with empty.running(lambda: identity), empty.connected() as bus:
        await Caller(bus).ask(LogIn(username="admin", password=password))
    assert capsys.readouterr().out == ""


async def test_an_administrator_whose_password_was_not_told_yet_is_told_at_the_next_start(
    empty: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as torn:
        torn.setattr("sys.stdout", TornPipe())
        with pytest.raises(BrokenPipeError):
            await serve(identity, empty.settings, asyncio.Event())
    async with empty.running(lambda: identity), empty.connected() as bus:
        (told,) = re.findall(TOLD, capsys.readouterr().out)
        await Caller(bus).ask(LogIn(username="admin", password=told))


async def test_a_weak_first_password_stops_the_start_with_one_sentence(empty: Stage) -> None:
    weak = replace(empty.settings, admin_password="short")
    with pytest.raises(SettingsError, match=r"HEADRACE_ADMIN_PASSWORD is refused: .*at least 8"):
        await serve(identity, weak, asyncio.Event())
