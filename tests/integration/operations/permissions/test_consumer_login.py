"""The login for external consumers: its intended use and attempts to misuse it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, NotFoundError

from infra.docgen.nats_config import MAX_CONSUMERS
from infra.local.servers import Servers
from libs.messaging.nats_connection import connect, flush_to_server
from libs.messaging.stream_mirrors import purge_mirror
from libs.settings import Settings
from tests.support.waiting import eventually

PLANNER_CONSUMER = "builds-planner"
DELETED_BODY = b'{"runner_uuid": "7f1d3b5e-0000-4000-8000-000000000001"}'
DELETE_SUBJECT = "cmd.runners.DeleteRunner"
JETSTREAM_API = "$JS.API"


@pytest.fixture
async def consumer(servers: Servers) -> AsyncIterator[Client]:
    """Connect nats-py without Headrace's connection options."""
    client = await nats.connect(servers.nats_url_for("consumer"))
    yield client
    await client.close()


@pytest.fixture
async def builds(servers: Servers) -> AsyncIterator[Client]:
    client = await connect(Settings(nats_url=servers.nats_url_for("builds")), "test")
    yield client
    await client.close()


@pytest.fixture
async def operator(servers: Servers) -> AsyncIterator[Client]:
    client = await connect(Settings(nats_url=servers.nats_url_for("migrate")), "test")
    yield client
    await client.close()


async def publish(client: Client, subject: str, data: bytes = b"{}") -> int:
    return (await client.jetstream().publish(subject, data, timeout=30, headers={"ce-id": uuid4().hex})).seq


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
    assert (await events.next_msg(30)).metadata.sequence.stream == first
    second = await publish(builds, "evt.builds.build-1.BuildFinished", b"2")
    assert (await events.next_msg(30)).metadata.sequence.stream == second


async def test_a_stock_client_subscribes_live(consumer: Client, runners: Client) -> None:
    events = await consumer.subscribe("evt.runners.*.RunnerOnline")
    # account_info waits for a reply, which follows the subscription; nats-py's flush can overtake the subscription
    await consumer.jetstream().account_info()
    await publish(runners, "evt.runners.runner-1.RunnerOnline", b"online")
    assert (await events.next_msg(30)).data == b"online"


async def test_a_stock_client_pulls_with_a_subject_filter(consumer: Client, builds: Client, operator: Client) -> None:
    await publish(builds, "evt.builds.build-2.BuildQueued")
    await wait_until_copied(operator, "builds", await publish(builds, "evt.builds.build-2.BuildFinished"))
    pulling = await consumer.jetstream().pull_subscribe("evt.builds.build-2.BuildFinished")
    assert [message.subject for message in await pulling.fetch(5, timeout=20)] == ["evt.builds.build-2.BuildFinished"]


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


@asynccontextmanager
async def assert_no_effect(runners: Client, operator: Client) -> AsyncIterator[None]:
    """Check that the block delivers no command to the service and adds no message to a stream."""
    received = []

    async def record(message: Msg) -> None:
        received.append(message.data)

    await runners.subscribe(DELETE_SUBJECT, cb=record)
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
        # A push consumer is active only while `target` has a subscriber. This login may not subscribe to commands, so
        # for DELETE_SUBJECT the only subscriber is the one of `assert_no_effect`.
        listening = await consumer.subscribe(target)
        await consumer.jetstream().add_consumer("runners", config)
        # the reply to this request shows that the server has processed the previous ones
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
    assert json.loads((await received.next_msg(30)).data)["type"] == "io.nats.jetstream.api.v1.stream_info_response"


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
