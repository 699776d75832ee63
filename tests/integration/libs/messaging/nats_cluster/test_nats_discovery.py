"""How clients use the servers that a NATS cluster advertises, and how they spread over the servers."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from infra.local.nats_server import UNLIMITED_LOGIN
from libs.messaging.nats_connection import connect, disconnect
from libs.settings import Settings, SettingsError
from tests.integration.libs.messaging.nats_cluster.cluster_clients import connected_client, wait_until_moved
from tests.support.external.certificates import CertificateAuthority
from tests.support.infrastructure.nats_cluster import NatsCluster, nats_cluster
from tests.support.waiting import eventually


async def test_servers_discovered_from_the_cluster_are_used_with_the_login(tmp_path: Path) -> None:
    with nats_cluster(tmp_path, size=2) as cluster:
        async with connected_client(cluster.url("gateway", 0)) as client:
            await eventually(lambda: len(client.servers) == 2)
            await asyncio.to_thread(cluster.servers[0].kill)
            await wait_until_moved(client, cluster, cluster.servers[0])


async def test_a_percent_encoded_nats_login_is_decoded(tmp_path: Path) -> None:
    user = 'users: [{ user: "b@x", password: "p,%:/z" }, '
    with nats_cluster(tmp_path, size=1, edit_config=lambda text: text.replace("users: [", user, 1)) as cluster:
        address = cluster.addresses[0]
        async with connected_client(f"nats://b%40x:p%2C%25%3A%2Fz@{address}") as client:
            assert client.new_inbox().startswith("_INBOX.b@x.")
        with pytest.raises(SettingsError, match=r"^NATS rejects the login in HEADRACE_NATS_URL\.$"):
            await connect(Settings(nats_url=f"nats://b%40x:p@{address}"), "test")


async def test_a_discovered_server_without_tls_receives_no_login_on_reconnect(tmp_path: Path) -> None:
    """The cluster advertises a server without TLS. The client must send no data to that server."""
    received = bytearray()
    connections = asyncio.Event()

    async def act_as_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.0","max_payload":1048576,"auth_required":true}\r\n')
        connections.set()
        received.extend(await reader.read(4096))
        writer.close()

    impostor = await asyncio.start_server(act_as_server, "127.0.0.1", 0)
    port = impostor.sockets[0].getsockname()[1]
    authority = CertificateAuthority(tmp_path / "authority")
    shown = authority.issue("nats")
    tls = f'tls {{ cert_file: "{shown.certificate}", key_file: "{shown.key}" }}\nclient_advertise: "127.0.0.1:{port}"'
    async with impostor:
        with nats_cluster(tmp_path, size=2, extra_config=tls) as cluster:
            url = cluster.url("gateway", 0).replace("nats://", "tls://")
            async with connected_client(url, ca_file=authority.certificate_file) as client:
                await eventually(lambda: bool(client.discovered_servers))
                await asyncio.to_thread(cluster.servers[0].kill)
                async with asyncio.timeout(10):
                    await connections.wait()
                await asyncio.to_thread(cluster.servers[0].start)
                await eventually(lambda: client.is_connected)
    assert bytes(received) == b""


async def test_clients_spread_over_the_remaining_servers(cluster: NatsCluster) -> None:
    clients = [await connect(Settings(nats_url=cluster.url()), "spread") for _ in range(30)]
    try:
        await asyncio.to_thread(cluster.servers[0].kill)
        lost, *remaining = cluster.addresses
        # until a client notices the loss, it counts as connected to the lost server
        await eventually(lambda: all(client.is_connected and connected_address(client) != lost for client in clients))
        addresses = [connected_address(client) for client in clients]
        counts = [addresses.count(address) for address in remaining]
        assert sum(counts) == len(clients)
        assert min(counts) > 2  # 30 clients choose at random: fails by chance in one of a million runs
    finally:
        await asyncio.to_thread(cluster.servers[0].start)
        await asyncio.to_thread(cluster.servers[0].wait_ready)
        await asyncio.gather(*(disconnect(client) for client in clients))


async def gather_on_last_server(cluster: NatsCluster, clients: Sequence[Client]) -> None:
    """Kill and restart all servers except the last, so that every client is connected to the last one."""
    for server in cluster.servers[:-1]:
        await asyncio.to_thread(server.kill)
    last = cluster.addresses[-1]
    await eventually(lambda: all(client.is_connected and connected_address(client) == last for client in clients))
    for server in cluster.servers[:-1]:
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(server.wait_ready)


def connected_address(client: Client) -> str:
    return client.connected_url.netloc if client.connected_url else ""


async def test_clients_rebalance_when_servers_return(cluster: NatsCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    clients = [await connect(Settings(nats_url=cluster.url()), "spread") for _ in range(30)]
    subjects = {f"spread.{number}" for number in range(len(clients))}
    received = set()

    async def on_message(message: Msg) -> None:
        received.add(message.subject)

    try:
        for subject, client in zip(subjects, clients, strict=True):
            await client.subscribe(subject, cb=on_message)
        await gather_on_last_server(cluster, clients)
        monkeypatch.setattr("libs.messaging.nats_client.REBALANCE_DELAY_SECONDS", 0.1)
        for client in clients:
            await client.force_reconnect()  # all servers run, so the reconnect uses the short delay

        def is_spread() -> bool:
            addresses = [connected_address(client) for client in clients]
            return all(client.is_connected for client in clients) and all(
                addresses.count(address) > 2  # 30 clients choose at random: fails by chance in one of a million runs
                for address in cluster.addresses
            )

        await eventually(is_spread)
        async with connected_client(cluster.url()) as sender:

            async def all_subscribed() -> bool:  # servers learn of each other's subscriptions with a delay
                for subject in subjects - received:
                    await sender.publish(subject, b"")
                return received == subjects

            await eventually(all_subscribed)
    finally:
        await asyncio.gather(*(disconnect(client) for client in clients))


async def test_a_client_with_pending_requests_is_not_rebalanced(
    cluster: NatsCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.messaging.nats_client.REBALANCE_DELAY_SECONDS", 0.05)
    async with connected_client(cluster.url(UNLIMITED_LOGIN, 2)) as server, connected_client(cluster.url()) as client:

        async def answer_late(message: Msg) -> None:
            await asyncio.sleep(0.5)
            await message.respond(b"late")

        await server.subscribe("late", cb=answer_late)
        await gather_on_last_server(cluster, [client])
        for _ in range(5):
            assert (await client.request("late", timeout=10)).data == b"late"
