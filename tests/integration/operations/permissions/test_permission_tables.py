"""The NATS permissions of each login on a real nats-server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nats
import pytest
import yaml
from nats.aio.client import Client
from nats.aio.msg import Msg

import gateway
from contracts.runners import DeleteRunner, GetRunner
from infra.docgen.call_graph import find_imported_messages
from infra.local.servers import Servers
from infra.nats_permissions import Login, build_logins
from infra.service_catalog import load_services
from libs.messaging.nats_connection import flush_to_server
from libs.messaging.request_reply import MessageClient
from tests.support.waiting import eventually

LOGINS = {login.name: login for login in build_logins(load_services(), find_imported_messages(gateway))}
FORBIDDEN_SUBJECT = "forbidden.to.all"
FORBIDDEN_SUBJECTS = yaml.load((Path(__file__).parent / "permissions.yaml").read_text(), yaml.CSafeLoader)
FORBIDDEN_PUBLISHES, FORBIDDEN_SUBSCRIPTIONS = FORBIDDEN_SUBJECTS["never_sent"], FORBIDDEN_SUBJECTS["never_heard"]


@dataclass
class LoginProbe:
    """A connection that records the permission errors which the server reports for its login."""

    client: Client
    refused: list[str] = field(default_factory=list)

    async def publish(self, *subjects: str) -> list[str]:
        for subject in subjects:
            await self.client.publish(subject, b"")
        return await self._list_refused()

    async def subscribe(self, *subjects: str) -> list[str]:
        for subject in subjects:
            await self.client.subscribe(subject)
        return await self._list_refused()

    async def _list_refused(self) -> list[str]:
        """Return the refused subjects. FORBIDDEN_SUBJECT is published last, so its refusal arrives last."""
        await self.client.publish(FORBIDDEN_SUBJECT, b"")
        await eventually(lambda: FORBIDDEN_SUBJECT in self.refused)
        return [subject for subject in self.refused if subject != FORBIDDEN_SUBJECT]


@asynccontextmanager
async def probe_login(servers: Servers, login: str) -> AsyncIterator[LoginProbe]:
    refused: list[str] = []

    async def on_error(error: Exception) -> None:
        if "permissions violation" in str(error).lower():  # others are attempts to connect to a busy server
            refused.append(str(error).split('"')[1].lower())

    client = await nats.connect(servers.nats_url_for(login), error_cb=on_error, inbox_prefix=f"_INBOX.{login}")
    tried = LoginProbe(client, refused)
    try:
        yield tried
    finally:
        await tried.client.close()


def concrete_subject(pattern: str) -> str:
    return pattern.replace("*", "any").replace(">", "any.thing")


@pytest.mark.parametrize("login", LOGINS.values(), ids=LOGINS)
async def test_a_nats_login_may_publish_and_subscribe_to_its_declared_subjects(servers: Servers, login: Login) -> None:
    async with probe_login(servers, login.name) as tried:
        assert await tried.publish(*map(concrete_subject, login.publish)) == []
        assert await tried.subscribe(*login.subscribe) == []


@pytest.mark.parametrize("login", LOGINS)
async def test_a_nats_login_may_not_publish_to_other_subjects(servers: Servers, login: str) -> None:
    async with probe_login(servers, login) as tried:
        assert await tried.publish(*FORBIDDEN_PUBLISHES[login]) == [
            subject.lower() for subject in FORBIDDEN_PUBLISHES[login]
        ]


@pytest.mark.parametrize("login", LOGINS)
async def test_a_nats_login_may_not_subscribe_to_other_subjects(servers: Servers, login: str) -> None:
    async with probe_login(servers, login) as tried:
        assert await tried.subscribe(*FORBIDDEN_SUBSCRIPTIONS[login]) == [
            subject.lower() for subject in FORBIDDEN_SUBSCRIPTIONS[login]
        ]


@pytest.mark.parametrize("login", [login for login in LOGINS.values() if login.deny], ids=lambda login: login.name)
async def test_denied_subjects_are_not_reachable_by_wildcard_permissions(servers: Servers, login: Login) -> None:
    subjects = [concrete_subject(subject) for subject in login.deny]
    async with probe_login(servers, login.name) as tried:
        assert await tried.publish(*subjects) == [subject.lower() for subject in subjects]


@pytest.mark.parametrize("login", ["", "builds:wrong@", "headrace:headrace@", "unknown:unknown@"])
async def test_nats_rejects_connections_without_a_valid_login(servers: Servers, login: str) -> None:
    address, client = servers.nats.program.address.replace("://", f"://{login}"), Client()
    with pytest.raises(nats.errors.Error, match=r"(?i)authorization violation"):
        await client.connect(address, allow_reconnect=False)
    await client.close()


async def test_a_service_may_reply_once_to_each_request(servers: Servers, runners: Client) -> None:
    replies = []

    async def reply(message: Msg) -> None:
        replies.append(message.reply)
        await message.respond(b"once")

    await runners.subscribe(GetRunner.subject(), cb=reply)
    await flush_to_server(runners)
    async with probe_login(servers, "gateway") as requester:
        assert (await requester.client.request(GetRunner.subject(), timeout=20)).data == b"once"
        async with probe_login(servers, "runners") as other:
            assert await other.publish(replies[0]) == [replies[0].lower()]


def test_an_undeclared_call_is_not_sent() -> None:
    caller = MessageClient(Client(), allowed=(GetRunner,))
    with pytest.raises(TypeError, match="DeleteRunner is not a declared outgoing message"):
        asyncio.run(caller.send(DeleteRunner(runner_uuid="u")))
