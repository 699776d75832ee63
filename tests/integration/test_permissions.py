"""What each login may do on NATS and what not, asked of a real nats-server; and what a hostile consumer tries."""

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
from infra.documents.nats import MOST_CONSUMERS
from infra.documents.reading import imported_by
from infra.local.servers import Servers
from infra.migrate import all_services
from infra.permissions import Login, logins
from libs.connections import database_of, mongo, vault_of
from libs.messaging import Caller, connect, settled
from libs.migration import migrate
from libs.mirrors import purge_mirror
from libs.settings import Settings
from tests.support import eventually
from tests.support.servers import servers_in

LOGINS = {one.name: one for one in logins(all_services(), imported_by(gateway))}
PLANNER = "builds-planner"
DELETED = b'{"runner_uuid": "7f1d3b5e-0000-4000-8000-000000000001"}'
DELETE = "cmd.runners.DeleteRunner"
JS = "$JS.API"
FORBIDDEN = "forbidden.to.all"

FORBIDDEN_TO = yaml.safe_load((Path(__file__).parent / "permissions.yaml").read_text())
NEVER_SENT, NEVER_HEARD = FORBIDDEN_TO["never_sent"], FORBIDDEN_TO["never_heard"]


@dataclass
class Tried:
    """A login, and what the server said it may not do."""

    client: Client
    refused: list[str] = field(default_factory=list)

    async def publish(self, *subjects: str) -> list[str]:
        for subject in subjects:
            await self.client.publish(subject, b"")
        return await self._said()

    async def subscribe(self, *subjects: str) -> list[str]:
        for subject in subjects:
            await self.client.subscribe(subject)
        return await self._said()

    async def _said(self) -> list[str]:
        """The server refuses in order, so what nobody may do comes last."""
        await self.client.publish(FORBIDDEN, b"")
        await eventually(lambda: FORBIDDEN in self.refused)
        return [one for one in self.refused if one != FORBIDDEN]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with servers_in(tmp_path_factory.mktemp("servers")) as servers:
        yield servers


@pytest.fixture(scope="module", autouse=True)
async def migrated(servers: Servers) -> None:
    """All streams, copies and consumers, made by the login that is there for it."""
    settings = Settings(
        mongodb_url=servers.mongodb_url,
        nats_url=servers.nats_for("migrate"),
        master_keys=(bytes(32),),
        database_prefix=f"test-{uuid4().hex[:8]}",
    )
    services, bus = all_services(), await connect(settings, "migrate")
    async with mongo(settings, "test") as client:
        databases = [database_of(client, settings, one.name) for one in services]
        await migrate(services, databases, [vault_of(one, settings) for one in databases], bus)
    await bus.close()


@asynccontextmanager
async def trying(servers: Servers, login: str) -> AsyncIterator[Tried]:
    async def on_error(error: Exception) -> None:
        tried.refused.append(str(error).split('"')[1].lower())

    tried = Tried(await nats.connect(servers.nats_for(login), error_cb=on_error, inbox_prefix=f"_INBOX.{login}"))
    try:
        yield tried
    finally:
        await tried.client.close()


@pytest.fixture
async def consumer(servers: Servers) -> AsyncIterator[Client]:
    """A stock client that was told the address and nothing else."""
    client = await nats.connect(servers.nats_for("consumer"))
    yield client
    await client.close()


@pytest.fixture
async def builds(servers: Servers) -> AsyncIterator[Client]:
    client = await connect(Settings(nats_url=servers.nats_for("builds")), "test")
    yield client
    await client.close()


@pytest.fixture
async def runners(servers: Servers) -> AsyncIterator[Client]:
    client = await connect(Settings(nats_url=servers.nats_for("runners")), "test")
    yield client
    await client.close()


@pytest.fixture
async def operator(servers: Servers) -> AsyncIterator[Client]:
    client = await connect(Settings(nats_url=servers.nats_for("migrate")), "test")
    yield client
    await client.close()


def literal(pattern: str) -> str:
    return pattern.replace("*", "any").replace(">", "any.thing")


# ---- the tables


@pytest.mark.parametrize("login", LOGINS.values(), ids=LOGINS)
async def test_a_login_may_send_and_hear_what_its_declaration_needs(servers: Servers, login: Login) -> None:
    async with trying(servers, login.name) as tried:
        assert await tried.publish(*map(literal, login.publish)) == []
        assert await tried.subscribe(*login.subscribe) == []


@pytest.mark.parametrize("login", LOGINS)
async def test_a_login_may_send_nothing_else(servers: Servers, login: str) -> None:
    async with trying(servers, login) as tried:
        assert await tried.publish(*NEVER_SENT[login]) == [subject.lower() for subject in NEVER_SENT[login]]


@pytest.mark.parametrize("login", LOGINS)
async def test_a_login_may_hear_nothing_else(servers: Servers, login: str) -> None:
    async with trying(servers, login) as tried:
        assert await tried.subscribe(*NEVER_HEARD[login]) == [subject.lower() for subject in NEVER_HEARD[login]]


@pytest.mark.parametrize("login", [one for one in LOGINS.values() if one.never], ids=lambda one: one.name)
async def test_no_wildcard_opens_the_consumers_of_others(servers: Servers, login: Login) -> None:
    subjects = [literal(subject) for subject in login.never]
    async with trying(servers, login.name) as tried:
        assert await tried.publish(*subjects) == [subject.lower() for subject in subjects]


@pytest.mark.parametrize("login", ["", "builds:wrong@", "headrace:headrace@", "unknown:unknown@"])
async def test_nobody_connects_without_a_login(servers: Servers, login: str) -> None:
    address, client = servers.nats.program.address.replace("://", f"://{login}"), Client()
    with pytest.raises(nats.errors.Error, match=r"(?i)authorization violation"):
        await client.connect(address, allow_reconnect=False)
    await client.close()


async def test_a_service_answers_whoever_asked_and_only_that(servers: Servers, runners: Client) -> None:
    replies = []

    async def answer(message: Msg) -> None:
        replies.append(message.reply)
        await message.respond(b"once")

    await runners.subscribe(GetRunner.subject(), cb=answer)
    await settled(runners)
    async with trying(servers, "gateway") as asking:
        assert (await asking.client.request(GetRunner.subject(), timeout=5)).data == b"once"
        async with trying(servers, "runners") as other:
            assert await other.publish(replies[0]) == [replies[0].lower()]


def test_what_is_not_declared_is_not_sent() -> None:
    caller = Caller(Client(), calls=(GetRunner,))
    with pytest.raises(TypeError, match="DeleteRunner is not among the declared calls"):
        asyncio.run(caller.tell(DeleteRunner(runner_uuid="u")))


# ---- the consumer, as it is meant


async def publish(client: Client, subject: str, data: bytes = b"{}") -> int:
    return (await client.jetstream().publish(subject, data, headers={"ce-id": uuid4().hex})).seq


async def copied(operator: Client, stream: str, sequence: int) -> None:
    copies = operator.jsm(prefix="$JS.EVENTS.API")

    async def there() -> bool:
        return (await copies.stream_info(stream)).state.last_seq >= sequence

    await eventually(there)


async def test_a_stock_client_replays_and_follows_with_an_ordered_consumer(
    consumer: Client, builds: Client, operator: Client
) -> None:
    first = await publish(builds, "evt.builds.build-1.BuildQueued", b"1")
    await copied(operator, "builds", first)
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


async def test_a_stock_client_pulls_what_its_filter_lets_through(
    consumer: Client, builds: Client, operator: Client
) -> None:
    await publish(builds, "evt.builds.build-2.BuildQueued")
    await copied(operator, "builds", await publish(builds, "evt.builds.build-2.BuildFinished"))
    pulling = await consumer.jetstream().pull_subscribe("evt.builds.build-2.BuildFinished")
    assert [one.subject for one in await pulling.fetch(5, timeout=5)] == ["evt.builds.build-2.BuildFinished"]


async def test_a_copy_forgets_with_its_original(builds: Client, operator: Client) -> None:
    last = await publish(builds, "evt.builds.stream.Emptied")
    await copied(operator, "builds", last)
    await builds.jetstream().purge_stream("builds", seq=last + 1)
    await purge_mirror(builds, "builds", last + 1)
    copies = operator.jsm(prefix="$JS.EVENTS.API")
    assert (await copies.stream_info("builds")).state.messages == 0
    following = await publish(builds, "evt.builds.build-3.BuildQueued")
    await copied(operator, "builds", following)
    assert (await copies.stream_info("builds")).state.first_seq == following


# ---- the consumer, as an enemy


@asynccontextmanager
async def unmoved(runners: Client, operator: Client) -> AsyncIterator[None]:
    """Nothing comes to the service but what it is sent by those who may, and no stream has a message more."""
    heard = []

    async def hear(message: Msg) -> None:
        heard.append(message.data)

    await runners.subscribe(DELETE, cb=hear)
    await settled(runners)
    before = await messages(operator)
    yield
    assert await messages(operator) == before
    await settled(runners)
    assert heard == []


async def messages(operator: Client) -> dict[str, int]:
    names = {prefix: operator.jsm(prefix=prefix) for prefix in (JS, "$JS.EVENTS.API")}
    return {
        f"{prefix} {stream}": (await js.stream_info(stream)).state.last_seq
        for prefix, js in names.items()
        for stream in ("builds", "runners")
    }


def names_of(consumers: Sequence[Any]) -> set[str]:
    return {str(one.name) for one in consumers}


@pytest.mark.parametrize("target", [DELETE, "evt.runners.runner-1.RunnerDeleted", "evt.builds.build-1.BuildFinished"])
async def test_events_that_are_delivered_to_a_subject_of_its_choice_stay_in_its_account(
    consumer: Client, runners: Client, operator: Client, target: str
) -> None:
    await copied(operator, "runners", await publish(runners, "evt.runners.runner-1.RunnerDeleted", DELETED))
    async with unmoved(runners, operator):
        config = ConsumerConfig(name=f"x{uuid4().hex}", deliver_subject=target, filter_subject="evt.runners.>")
        listening = await consumer.subscribe("evt.runners.>")  # interest, which a push consumer waits for
        await consumer.jetstream().add_consumer("runners", config)
        await consumer.jetstream().pull_subscribe("evt.runners.>")  # an answer: the server has done what came before
        await listening.unsubscribe()


@pytest.mark.parametrize("asked", ["STREAM.INFO.runners", "STREAM.MSG.GET.runners", "DIRECT.GET.runners", "INFO"])
@pytest.mark.parametrize("target", [DELETE, "evt.runners.x.RunnerDeleted", "$JS.HEADRACE.API.CONSUMER.CREATE.builds"])
async def test_answers_that_are_sent_to_a_subject_of_its_choice_stay_in_its_account(
    consumer: Client, runners: Client, operator: Client, asked: str, target: str
) -> None:
    last = await publish(runners, "evt.runners.runner-1.RunnerDeleted", DELETED)
    await copied(operator, "runners", last)
    present = names_of(await operator.jsm().consumers_info("builds"))
    async with unmoved(runners, operator):
        await consumer.publish(f"{JS}.{asked}", json.dumps({"seq": last}).encode(), reply=target)
        await consumer.jetstream().pull_subscribe("evt.runners.>")
    assert names_of(await operator.jsm().consumers_info("builds")) == present


async def test_within_one_account_the_server_sends_an_answer_wherever_it_is_told_to(
    builds: Client, runners: Client
) -> None:
    """Which is why the consumer has another one."""
    heard = await runners.subscribe(DELETE)
    await settled(runners)
    await builds.publish(f"{JS}.STREAM.INFO.builds", b"", reply=DELETE)
    assert json.loads((await heard.next_msg(10)).data)["type"] == "io.nats.jetstream.api.v1.stream_info_response"


async def test_the_durable_consumers_of_the_services_are_out_of_its_reach(consumer: Client, operator: Client) -> None:
    before = await operator.jsm().consumer_info("builds", PLANNER)
    theirs = consumer.jetstream()
    with pytest.raises(NotFoundError):
        await theirs.consumer_info("builds", PLANNER)
    await theirs.add_consumer(
        "builds", ConsumerConfig(name=PLANNER, durable_name=PLANNER, filter_subject="evt.builds.>")
    )
    await theirs.delete_consumer("builds", PLANNER)
    after = await operator.jsm().consumer_info("builds", PLANNER)
    assert (after.created, after.config, after.delivered) == (before.created, before.config, before.delivered)


async def test_messages_of_other_streams_are_not_to_be_had(consumer: Client) -> None:
    js: JetStreamContext = consumer.jetstream(timeout=0.5)
    with pytest.raises(nats.errors.TimeoutError):
        await js.get_msg("identity", seq=1)
    with pytest.raises(nats.errors.TimeoutError):
        await js.subscribe("evt.identity.>", stream="identity", ordered_consumer=True)


async def test_the_copies_have_so_many_consumers_and_no_more(consumer: Client, operator: Client) -> None:
    js = consumer.jetstream()
    names = [f"many-{number}" for number in range(MOST_CONSUMERS + 1)]
    made = [js.add_consumer("builds", ConsumerConfig(name=name, inactive_threshold=60.0)) for name in names]
    outcomes = await asyncio.gather(*made, return_exceptions=True)
    assert any(isinstance(one, APIError) for one in outcomes)
    await asyncio.gather(*(js.delete_consumer("builds", name) for name in names), return_exceptions=True)
    assert await operator.jsm().consumer_info("builds", PLANNER)
