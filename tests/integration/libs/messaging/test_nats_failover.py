"""NATS cluster failover: servers that hang, die or are discovered later."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from fnmatch import fnmatch
from pathlib import Path

import httpx
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import MaxPayloadError

from contracts.errors import RequestRejected
from gateway.app import PROBE_SUBJECT as GATEWAY_PROBE_SUBJECT
from infra.local.nats_server import UNLIMITED_LOGIN
from infra.local.process import Process
from libs.messaging.message_server import MessageServer
from libs.messaging.nats_connection import connect, disconnect
from libs.messaging.request_reply import Headers, MessageClient
from libs.service.service_host import PROBE_SUBJECT
from libs.settings import Settings, SettingsError
from tests.support.counters.counters import GetCounter
from tests.support.external.certificates import CertificateAuthority
from tests.support.in_process.gateway_stage import running_gateway
from tests.support.infrastructure.nats_cluster import NatsCluster, frozen, nats_cluster
from tests.support.waiting import eventually

DETECTION_SECONDS = 10.0  # within which a hanging server has to be detected
GET_QUERY = GetCounter(counter_id="1")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    with nats_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@asynccontextmanager
async def connected_client(url: str, **more: object) -> AsyncIterator[Client]:
    client = await connect(Settings(nats_url=url, **more), "test")  # type: ignore[arg-type]
    try:
        yield client
    finally:
        await disconnect(client)


async def echo(body: bytes, _headers: Headers) -> bytes:
    return body


def server_of(client: Client, cluster: NatsCluster) -> Process:
    assert client.connected_url
    return cluster.server_at(client.connected_url.netloc)


async def wait_until_moved(client: Client, cluster: NatsCluster, server: Process) -> None:
    """Wait until the client is connected to another server."""
    await eventually(
        lambda: client.is_connected and server_of(client, cluster) is not server, within=DETECTION_SECONDS + 2
    )


async def is_answered(caller: MessageClient) -> bool:
    try:
        return bool(await caller.query(GET_QUERY))
    except RequestRejected:
        return False


async def test_requests_fail_over_when_a_nats_server_hangs(cluster: NatsCluster) -> None:
    async with connected_client(cluster.url()) as requester, connected_client(cluster.url()) as answering:
        await MessageServer(answering, "counters").serve(GetCounter, echo)
        with frozen(server_of(requester, cluster)):
            await eventually(lambda: is_answered(MessageClient(requester)), within=DETECTION_SECONDS + 2)
            await eventually(lambda: is_answered(MessageClient(requester)), within=2)


async def test_requests_are_not_routed_to_a_replica_behind_a_hanging_nats_server(cluster: NatsCluster) -> None:
    """Until the other servers have dropped their routes to the hanging one, its replica still gets requests."""
    async with (
        connected_client(cluster.url(UNLIMITED_LOGIN, 0)) as behind,
        connected_client(cluster.url(UNLIMITED_LOGIN, 1)) as reachable,
        connected_client(cluster.url(UNLIMITED_LOGIN, 2)) as requester,
    ):
        for replica in (behind, reachable):
            await MessageServer(replica, "counters").serve(GetCounter, echo)
        with frozen(cluster.servers[0]):
            answers = []

            async def are_all_answered() -> bool:
                answers.append(await is_answered(MessageClient(requester)))
                return len(answers) >= 20 and all(answers[-20:])  # passes by chance once in a million runs

            await eventually(are_all_answered, within=DETECTION_SECONDS + 10)


async def test_a_connection_with_blocked_writes_fails_over(cluster: NatsCluster) -> None:
    async with connected_client(cluster.url()) as client:
        server = server_of(client, cluster)

        async def flood() -> None:
            for _ in range(200):
                await client.publish("flood", bytes(100_000))

        with frozen(server):
            floods = [asyncio.create_task(flood()) for _ in range(20)]
            await wait_until_moved(client, cluster, server)
        await asyncio.wait(floods)


async def test_requests_fail_at_once_when_the_only_nats_server_hangs(tmp_path: Path) -> None:
    with nats_cluster(tmp_path, size=1) as lone:
        async with connected_client(lone.url()) as client:
            with frozen(lone.servers[0]):
                await eventually(lambda: not client.is_connected, within=DETECTION_SECONDS)
                async with asyncio.timeout(1):
                    with pytest.raises(RequestRejected, match="SERVICE_UNAVAILABLE"):
                        await MessageClient(client).query(GET_QUERY, timeout=20)
            await MessageServer(client, "counters").serve(GetCounter, echo)
            await eventually(lambda: is_answered(MessageClient(client)))


async def test_disconnecting_from_a_hanging_nats_server_is_quick(cluster: NatsCluster) -> None:
    client = await connect(Settings(nats_url=cluster.url()), "test")
    with frozen(server_of(client, cluster)):
        floods = [asyncio.create_task(client.publish("flood", bytes(8_000_000))) for _ in range(4)]
        await asyncio.wait(floods, timeout=0.5)
        async with asyncio.timeout(4):
            await disconnect(client)
    await asyncio.wait(floods, timeout=5)


async def test_a_hanging_nats_server_is_detected_over_tls(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "authority")
    shown = authority.issue("nats")
    tls = f'tls {{ cert_file: "{shown.certificate}", key_file: "{shown.key}" }}'
    with nats_cluster(tmp_path, extra_config=tls) as cluster:
        async with connected_client(
            cluster.url().replace("nats://", "tls://"), ca_file=authority.certificate_file
        ) as client:
            server = server_of(client, cluster)
            with frozen(server):
                await asyncio.wait([asyncio.create_task(client.publish("flood", bytes(8_000_000)))], timeout=1)
                await wait_until_moved(client, cluster, server)


# ---- readiness


async def get_readiness_reasons(url: str) -> dict[str, str]:
    async with httpx.AsyncClient(trust_env=False) as http:
        return dict((await http.get(f"{url}/readyz")).json()["reasons"])


async def test_a_gateway_is_not_ready_while_its_nats_server_hangs(tmp_path: Path) -> None:
    """Uses the NATS login of the gateway."""
    with nats_cluster(tmp_path, size=1) as lone:
        async with running_gateway(Settings(nats_url=lone.url("gateway"))) as (_, _, url):
            assert await get_readiness_reasons(url) == {}

            async def is_unready() -> bool:
                return "NATS" in (await get_readiness_reasons(url)).get("nats", "")

            async def is_ready() -> bool:
                return await get_readiness_reasons(url) == {}

            with frozen(lone.servers[0]):
                await eventually(is_unready, within=DETECTION_SECONDS)
            await eventually(is_ready, within=DETECTION_SECONDS)


async def test_the_connection_probe_uses_subjects_permitted_in_0_2_0() -> None:
    """The expected subjects are those permitted by `infra/nats/nats.conf` of release 0.2.0."""
    assert GATEWAY_PROBE_SUBJECT == "qry.identity.AboutOne"
    assert fnmatch(PROBE_SUBJECT, "settled.*")


# ---- discovered servers


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
    """The cluster advertises a server without TLS; the client must send nothing to it."""
    received = bytearray()
    connections = asyncio.Event()

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.0","max_payload":1048576,"auth_required":true}\r\n')
        connections.set()
        received.extend(await reader.read(4096))
        writer.close()

    impostor = await asyncio.start_server(pretend, "127.0.0.1", 0)
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
        await eventually(lambda: all(client.is_connected for client in clients))
        addresses = [client.connected_url.netloc for client in clients if client.connected_url]
        counts = sorted(addresses.count(address) for address in cluster.addresses)
        assert counts[0] == 0
        assert counts[1] > 2  # of 30; fewer have a probability of one in a million
    finally:
        await asyncio.to_thread(cluster.servers[0].start)
        await asyncio.to_thread(cluster.servers[0].wait_ready)
        await asyncio.gather(*(disconnect(client) for client in clients))


# ---- rebalancing


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
            await client.force_reconnect()  # reconnecting while all servers run applies the short delay

        def is_spread() -> bool:
            addresses = [connected_address(client) for client in clients]
            return all(client.is_connected for client in clients) and all(
                addresses.count(address) > 2  # of 30; fewer have a probability of one in a million
                for address in cluster.addresses
            )

        await eventually(is_spread)
        async with connected_client(cluster.url()) as sender:

            async def all_subscribed() -> bool:  # subscriptions propagate between servers with a delay
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


# ---- message size


@pytest.mark.parametrize("left", [0, 20])
async def test_a_message_above_the_limit_with_its_headers_is_rejected_by_the_client(
    cluster: NatsCluster, left: int
) -> None:
    """The server would close the connection, and the client would not reconnect."""
    async with connected_client(cluster.url()) as client:
        with pytest.raises(MaxPayloadError):
            await client.publish("x", bytes(client.max_payload - left), headers={"name": "value" * 10})
        await client.publish("x", bytes(client.max_payload - 100), headers={"name": "value" * 10})
        await MessageServer(client, "counters").serve(GetCounter, echo)
        assert await is_answered(MessageClient(client))
