"""The NATS permissions of each login on a real nats-server, and attacks by an external consumer."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats
import pytest
import yaml
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, NotFoundError

import gateway
from contracts.runners import DeleteRunner, GetRunner
from infra.docgen.call_graph import find_imported_messages
from infra.docgen.nats_config import MAX_CONSUMERS
from infra.local.servers import Servers
from infra.nats_permissions import Login, build_logins
from infra.service_catalog import load_services
from libs.messaging.nats_connection import connect, flush_to_server
from libs.messaging.request_reply import MessageClient
from libs.messaging.stream_mirrors import purge_mirror
from libs.service.connections import create_mongo_client, create_vault, get_database
from libs.service.migration import migrate
from libs.settings import Settings
from tests.support.infrastructure.servers import running_servers
from tests.support.waiting import eventually

LOGINS = {login.name: login for login in build_logins(load_services(), find_imported_messages(gateway))}
PLANNER_CONSUMER = "builds-planner"
DELETED_BODY = b'{"runner_uuid": "7f1d3b5e-0000-4000-8000-000000000001"}'
DELETE_SUBJECT = "cmd.runners.DeleteRunner"
JETSTREAM_API = "$JS.API"
FORBIDDEN_SUBJECT = "forbidden.to.all"

FORBIDDEN_SUBJECTS = yaml.safe_load((Path(__file__).parent / "permissions.yaml").read_text())
FORBIDDEN_PUBLISHES, FORBIDDEN_SUBSCRIPTIONS = FORBIDDEN_SUBJECTS["never_sent"], FORBIDDEN_SUBJECTS["never_heard"]


@dataclass
class LoginProbe:
    """A connection with one login that records the permission errors of the server."""

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
        """Return the refused subjects. The server refuses in order, so a subject forbidden to all marks the end."""
        await self.client.publish(FORBIDDEN_SUBJECT, b"")
        await eventually(lambda: FORBIDDEN_SUBJECT in self.refused)
        return [subject for subject in self.refused if subject != FORBIDDEN_SUBJECT]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with running_servers(tmp_path_factory.mktemp("servers")) as servers:
        yield servers


@pytest.fixture(scope="module", autouse=True)
async def migrated(servers: Servers) -> None:
    """Create all streams, mirrors and consumers with the login for migrations."""
    settings = Settings(
        mongodb_url=servers.mongodb_url,
        nats_url=servers.nats_url_for("migrate"),
        master_keys=(bytes(32),),
        database_prefix=f"test-{uuid4().hex[:8]}",
    )
    services, bus = load_services(), await connect(settings, "migrate")
    async with create_mongo_client(settings, "test") as client:
        databases = [get_database(client, settings, service.name) for service in services]
        await migrate(services, databases, [create_vault(database, settings) for database in databases], bus)
    await bus.close()


@asynccontextmanager
async def probe_login(servers: Servers, login: str) -> AsyncIterator[LoginProbe]:
    async def on_error(error: Exception) -> None:
        tried.refused.append(str(error).split('"')[1].lower())

    tried = LoginProbe(
        await nats.connect(servers.nats_url_for(login), error_cb=on_error, inbox_prefix=f"_INBOX.{login}")
    )
    try:
        yield tried
    finally:
        await tried.client.close()


@pytest.fixture
async def consumer(servers: Servers) -> AsyncIterator[Client]:
    """Connect a stock NATS client with the consumer login and default options."""
    client = await nats.connect(servers.nats_url_for("consumer"))
    yield client
    await client.close()


@pytest.fixture
async def builds(servers: Servers) -> AsyncIterator[Client]:
    client = await connect(Settings(nats_url=servers.nats_url_for("builds")), "test")
    yield client
    await client.close()


@pytest.fixture
async def runners(servers: Servers) -> AsyncIterator[Client]:
    client = await connect(Settings(nats_url=servers.nats_url_for("runners")), "test")
    yield client
    await client.close()


@pytest.fixture
async def operator(servers: Servers) -> AsyncIterator[Client]:
    client = await connect(Settings(nats_url=servers.nats_url_for("migrate")), "test")
    yield client
    await client.close()


def concrete_subject(pattern: str) -> str:
    return pattern.replace("*", "any").replace(">", "any.thing")


# ---- permission tables


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

    async def answer(message: Msg) -> None:
        replies.append(message.reply)
        await message.respond(b"once")

    await runners.subscribe(GetRunner.subject(), cb=answer)
    await flush_to_server(runners)
    async with probe_login(servers, "gateway") as requester:
        assert (await requester.client.request(GetRunner.subject(), timeout=5)).data == b"once"
        async with probe_login(servers, "runners") as other:
            assert await other.publish(replies[0]) == [replies[0].lower()]


def test_an_undeclared_call_is_not_sent() -> None:
    caller = MessageClient(Client(), allowed=(GetRunner,))
    with pytest.raises(TypeError, match="DeleteRunner is not among the declared calls"):
        asyncio.run(caller.send(DeleteRunner(runner_uuid="u")))


# ---- intended use of the consumer login


async def publish(client: Client, subject: str, data: bytes = b"{}") -> int:
    return (await client.jetstream().publish(subject, data, headers={"ce-id": uuid4().hex})).seq


async def wait_until_copied(operator: Client, stream: str, sequence: int) -> None:
    copies = operator.jsm(prefix="$JS.EVENTS.API")

    async def is_copied() -> bool:
        return (await copies.stream_info(stream)).state.last_seq >= sequence

    await eventually(is_copied)


async def test_a_stock_client_replays_and_follows_with_an_ordered_consumer(
    consumer: Client, builds: Client, operator: Client
) -> None:
    first = await publish(builds, "evt.builds.build-1.BuildQueued", b"1")
    await wait_until_copied(operator, "builds", first)
    js, start = (
        consumer.jetstream(),
        ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=first),
    )
    events = await js.subscribe("evt.builds.>", ordered_consumer=True, config=start)
    assert (await events.next_msg(10)).metadata.sequence.stream == first
    second = await publish(builds, "evt.builds.build-1.BuildFinished", b"2")
    assert (await events.next_msg(10)).metadata.sequence.stream == second


async def test_a_stock_client_subscribes_live(consumer: Client, runners: Client) -> None:
    events = await consumer.subscribe("evt.runners.*.RunnerOnline")
    await consumer.flush()
    await publish(runners, "evt.runners.runner-1.RunnerOnline", b"online")
    assert (await events.next_msg(10)).data == b"online"


async def test_a_stock_client_pulls_with_a_subject_filter(consumer: Client, builds: Client, operator: Client) -> None:
    await publish(builds, "evt.builds.build-2.BuildQueued")
    await wait_until_copied(operator, "builds", await publish(builds, "evt.builds.build-2.BuildFinished"))
    pulling = await consumer.jetstream().pull_subscribe("evt.builds.build-2.BuildFinished")
    assert [message.subject for message in await pulling.fetch(5, timeout=5)] == ["evt.builds.build-2.BuildFinished"]


async def test_purging_a_stream_purges_its_mirror(builds: Client, operator: Client) -> None:
    last = await publish(builds, "evt.builds.stream.Emptied")
    await wait_until_copied(operator, "builds", last)
    await builds.jetstream().purge_stream("builds", seq=last + 1)
    await purge_mirror(builds, "builds", last + 1)
    copies = operator.jsm(prefix="$JS.EVENTS.API")
    assert (await copies.stream_info("builds")).state.messages == 0
    following = await publish(builds, "evt.builds.build-3.BuildQueued")
    await wait_until_copied(operator, "builds", following)
    assert (await copies.stream_info("builds")).state.first_seq == following


# ---- misuse of the consumer login


@asynccontextmanager
async def assert_no_effect(runners: Client, operator: Client) -> AsyncIterator[None]:
    """Check that the block delivers no command to the service and adds no message to a stream."""
    received = []

    async def hear(message: Msg) -> None:
        received.append(message.data)

    await runners.subscribe(DELETE_SUBJECT, cb=hear)
    await flush_to_server(runners)
    before = await last_sequences(operator)
    yield
    assert await last_sequences(operator) == before
    await flush_to_server(runners)
    assert received == []


async def last_sequences(operator: Client) -> dict[str, int]:
    names = {prefix: operator.jsm(prefix=prefix) for prefix in (JETSTREAM_API, "$JS.EVENTS.API")}
    return {
        f"{prefix} {stream}": (await js.stream_info(stream)).state.last_seq
        for prefix, js in names.items()
        for stream in ("builds", "runners")
    }


def consumer_names(consumers: Sequence[Any]) -> set[str]:
    return {str(info.name) for info in consumers}


@pytest.mark.parametrize(
    "target", [DELETE_SUBJECT, "evt.runners.runner-1.RunnerDeleted", "evt.builds.build-1.BuildFinished"]
)
async def test_a_push_consumer_cannot_deliver_events_into_another_account(
    consumer: Client, runners: Client, operator: Client, target: str
) -> None:
    await wait_until_copied(
        operator, "runners", await publish(runners, "evt.runners.runner-1.RunnerDeleted", DELETED_BODY)
    )
    async with assert_no_effect(runners, operator):
        config = ConsumerConfig(name=f"x{uuid4().hex}", deliver_subject=target, filter_subject="evt.runners.>")
        # a push consumer delivers only if its subject has a subscriber
        listening = await consumer.subscribe("evt.runners.>")
        await consumer.jetstream().add_consumer("runners", config)
        # waits until the server has processed the previous requests
        await consumer.jetstream().pull_subscribe("evt.runners.>")
        await listening.unsubscribe()


@pytest.mark.parametrize("asked", ["STREAM.INFO.runners", "STREAM.MSG.GET.runners", "DIRECT.GET.runners", "INFO"])
@pytest.mark.parametrize(
    "target", [DELETE_SUBJECT, "evt.runners.x.RunnerDeleted", "$JS.HEADRACE.API.CONSUMER.CREATE.builds"]
)
async def test_a_reply_subject_cannot_inject_messages_into_another_account(
    consumer: Client, runners: Client, operator: Client, asked: str, target: str
) -> None:
    last = await publish(runners, "evt.runners.runner-1.RunnerDeleted", DELETED_BODY)
    await wait_until_copied(operator, "runners", last)
    present = consumer_names(await operator.jsm().consumers_info("builds"))
    async with assert_no_effect(runners, operator):
        await consumer.publish(f"{JETSTREAM_API}.{asked}", json.dumps({"seq": last}).encode(), reply=target)
        await consumer.jetstream().pull_subscribe("evt.runners.>")
    assert consumer_names(await operator.jsm().consumers_info("builds")) == present


async def test_within_an_account_nats_sends_api_replies_to_any_subject(builds: Client, runners: Client) -> None:
    """This is why the consumer login has an account of its own."""
    received = await runners.subscribe(DELETE_SUBJECT)
    await flush_to_server(runners)
    await builds.publish(f"{JETSTREAM_API}.STREAM.INFO.builds", b"", reply=DELETE_SUBJECT)
    assert json.loads((await received.next_msg(10)).data)["type"] == "io.nats.jetstream.api.v1.stream_info_response"


async def test_a_consumer_login_cannot_reach_durable_consumers_of_the_services(
    consumer: Client, operator: Client
) -> None:
    before = await operator.jsm().consumer_info("builds", PLANNER_CONSUMER)
    theirs = consumer.jetstream()
    with pytest.raises(NotFoundError):
        await theirs.consumer_info("builds", PLANNER_CONSUMER)
    await theirs.add_consumer(
        "builds", ConsumerConfig(name=PLANNER_CONSUMER, durable_name=PLANNER_CONSUMER, filter_subject="evt.builds.>")
    )
    await theirs.delete_consumer("builds", PLANNER_CONSUMER)
    after = await operator.jsm().consumer_info("builds", PLANNER_CONSUMER)
    assert (after.created, after.config, after.delivered) == (before.created, before.config, before.delivered)


async def test_a_consumer_login_cannot_read_private_streams(consumer: Client) -> None:
    js: JetStreamContext = consumer.jetstream(timeout=0.5)
    with pytest.raises(nats.errors.TimeoutError):
        await js.get_msg("identity", seq=1)
    with pytest.raises(nats.errors.TimeoutError):
        await js.subscribe("evt.identity.>", stream="identity", ordered_consumer=True)


async def test_the_number_of_consumers_of_a_mirror_is_limited(consumer: Client, operator: Client) -> None:
    js = consumer.jetstream()
    names = [f"many-{number}" for number in range(MAX_CONSUMERS + 1)]
    creations = [js.add_consumer("builds", ConsumerConfig(name=name, inactive_threshold=60.0)) for name in names]
    outcomes = await asyncio.gather(*creations, return_exceptions=True)
    assert any(isinstance(outcome, APIError) for outcome in outcomes)
    await asyncio.gather(*(js.delete_consumer("builds", name) for name in names), return_exceptions=True)
    assert await operator.jsm().consumer_info("builds", PLANNER_CONSUMER)
