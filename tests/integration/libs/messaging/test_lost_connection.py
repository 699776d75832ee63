"""Requests that are pending when the connection to NATS is lost."""

import asyncio

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from contracts.errors import RequestRejected
from libs.messaging.request_reply import MessageClient
from tests.support.counters.counters import GetCounter
from tests.support.infrastructure.servers import Servers


async def test_a_query_whose_reply_is_lost_with_the_connection_fails_at_once(servers: Servers, bus: Client) -> None:
    received = asyncio.Event()

    async def receive_silently(_message: Msg) -> None:
        received.set()

    await bus.subscribe(GetCounter.subject(), cb=receive_silently)
    pending = asyncio.create_task(MessageClient(bus).query(GetCounter(counter_id="1"), timeout=60))
    await received.wait()
    servers.nats.kill()
    servers.nats.start()
    servers.nats.wait_ready()
    with pytest.raises(RequestRejected, match="SERVICE_TIMEOUT"):
        async with asyncio.timeout(10):
            await pending
