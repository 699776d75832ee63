"""Clients of a NATS cluster and the servers they are connected to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.client import Client

from infra.local.process import Process
from libs.messaging.nats_connection import connect, disconnect
from libs.settings import Settings
from tests.support.infrastructure.nats_cluster import NatsCluster
from tests.support.waiting import eventually

DETECTION_SECONDS = 10.0  # maximum time in which a client must detect a server that hangs


@asynccontextmanager
async def connected_client(url: str, **more: object) -> AsyncIterator[Client]:
    client = await connect(Settings(nats_url=url, **more), "test")  # type: ignore[arg-type]
    try:
        yield client
    finally:
        await disconnect(client)


def server_of(client: Client, cluster: NatsCluster) -> Process:
    assert client.connected_url
    return cluster.server_at(client.connected_url.netloc)


async def wait_until_moved(client: Client, cluster: NatsCluster, server: Process) -> None:
    await eventually(
        lambda: client.is_connected and server_of(client, cluster) is not server, within=DETECTION_SECONDS + 2
    )
