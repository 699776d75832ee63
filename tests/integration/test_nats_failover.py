"""Connections to a cluster of nats-servers of which one hangs, dies or was never named."""

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

from contracts.errors import Refused
from gateway.app import PROBED
from infra.local.nats import UNLIMITED
from infra.local.process import Process
from libs.hosting import BUS_PROBE
from libs.messaging import Caller, Headers, Responder, connect, disconnect
from libs.settings import Settings, SettingsError
from tests.integration.gateway_stage import serving
from tests.support import eventually
from tests.support.authority import Authority
from tests.support.nats_cluster import NatsCluster, frozen, nats_cluster
from tests.toy.counters import GetCounter

NOTICED = 10.0  # seconds in which a hanging server has to be noticed
GET = GetCounter(counter_id="1")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    with nats_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@asynccontextmanager
async def connected(url: str, **more: object) -> AsyncIterator[Client]:
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


async def moved(client: Client, cluster: NatsCluster, server: Process) -> None:
    """Wait until the client is connected to another server."""
    await eventually(lambda: client.is_connected and server_of(client, cluster) is not server, within=NOTICED + 2)


async def answered(caller: Caller) -> bool:
    try:
        return bool(await caller.ask(GET))
    except Refused:
        return False


async def test_requests_work_over_another_server_when_one_hangs(cluster: NatsCluster) -> None:
    async with connected(cluster.url()) as asking, connected(cluster.url()) as answering:
        await Responder(answering, "counters").answer(GetCounter, echo)
        with frozen(server_of(asking, cluster)):
            await eventually(lambda: answered(Caller(asking)), within=NOTICED + 2)
            await eventually(lambda: answered(Caller(asking)), within=2)


async def test_requests_no_longer_go_to_a_replica_behind_a_hanging_server(cluster: NatsCluster) -> None:
    """The servers that are left have to give up their routes to it: until then it gets its share of the requests."""
    async with (
        connected(cluster.url(UNLIMITED, 0)) as behind,
        connected(cluster.url(UNLIMITED, 1)) as reachable,
        connected(cluster.url(UNLIMITED, 2)) as asking,
    ):
        for replica in (behind, reachable):
            await Responder(replica, "counters").answer(GetCounter, echo)
        with frozen(cluster.servers[0]):
            answers = []

            async def are_all_answered() -> bool:
                answers.append(await answered(Caller(asking)))
                return len(answers) >= 20 and all(answers[-20:])  # by chance once in a million

            await eventually(are_all_answered, within=NOTICED + 10)


async def test_a_connection_is_given_up_although_its_writes_block(cluster: NatsCluster) -> None:
    async with connected(cluster.url()) as client:
        server = server_of(client, cluster)

        async def flood() -> None:
            for _ in range(200):
                await client.publish("flood", bytes(100_000))

        with frozen(server):
            floods = [asyncio.create_task(flood()) for _ in range(20)]
            await moved(client, cluster, server)
        await asyncio.wait(floods)


async def test_requests_are_refused_at_once_where_no_other_server_is(tmp_path: Path) -> None:
    with nats_cluster(tmp_path, size=1) as lone:
        async with connected(lone.url()) as client:
            with frozen(lone.servers[0]):
                await eventually(lambda: not client.is_connected, within=NOTICED)
                async with asyncio.timeout(1):
                    with pytest.raises(Refused, match="SERVICE_UNAVAILABLE"):
                        await Caller(client).ask(GET, timeout=20)
            await Responder(client, "counters").answer(GetCounter, echo)
            await eventually(lambda: answered(Caller(client)))


async def test_leaving_a_hanging_server_takes_a_moment(cluster: NatsCluster) -> None:
    client = await connect(Settings(nats_url=cluster.url()), "test")
    with frozen(server_of(client, cluster)):
        floods = [asyncio.create_task(client.publish("flood", bytes(8_000_000))) for _ in range(4)]
        await asyncio.wait(floods, timeout=0.5)
        async with asyncio.timeout(4):
            await disconnect(client)
    await asyncio.wait(floods, timeout=5)


async def test_a_hanging_server_is_noticed_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    shown = authority.issue("nats")
    tls = f'tls {{ cert_file: "{shown.certificate}", key_file: "{shown.key}" }}'
    with nats_cluster(tmp_path, more=tls) as cluster:
        async with connected(cluster.url().replace("nats://", "tls://"), ca_file=authority.file) as client:
            server = server_of(client, cluster)
            with frozen(server):
                await asyncio.wait([asyncio.create_task(client.publish("flood", bytes(8_000_000)))], timeout=1)
                await moved(client, cluster, server)


# ---- readiness


async def readiness(url: str) -> dict[str, str]:
    async with httpx.AsyncClient(trust_env=False) as http:
        return dict((await http.get(f"{url}/readyz")).json()["reasons"])


async def test_a_gateway_whose_server_hangs_is_not_ready_and_later_ready_again(tmp_path: Path) -> None:
    """With the gateway's own login."""
    with nats_cluster(tmp_path, size=1) as lone:
        async with serving(Settings(nats_url=lone.url("gateway"))) as (_, _, url):
            assert await readiness(url) == {}

            async def is_unready() -> bool:
                return "NATS" in (await readiness(url)).get("nats", "")

            async def is_ready() -> bool:
                return await readiness(url) == {}

            with frozen(lone.servers[0]):
                await eventually(is_unready, within=NOTICED)
            await eventually(is_ready, within=NOTICED)


async def test_the_logins_of_0_2_0_may_make_the_round_trip() -> None:
    """What `infra/nats/nats.conf` of that release let each login send to."""
    assert PROBED == "qry.identity.AboutOne"
    assert fnmatch(BUS_PROBE, "settled.*")


# ---- servers that the cluster names


async def test_servers_that_the_cluster_names_are_used_with_the_login(tmp_path: Path) -> None:
    with nats_cluster(tmp_path, size=2) as cluster:
        async with connected(cluster.url("gateway", 0)) as client:
            await eventually(lambda: len(client.servers) == 2)
            await asyncio.to_thread(cluster.servers[0].kill)
            await moved(client, cluster, cluster.servers[0])


async def test_a_percent_encoded_login_is_decoded(tmp_path: Path) -> None:
    user = 'users: [{ user: "b@x", password: "p,%:/z" }, '
    with nats_cluster(tmp_path, size=1, edit=lambda text: text.replace("users: [", user, 1)) as cluster:
        address = cluster.addresses[0]
        async with connected(f"nats://b%40x:p%2C%25%3A%2Fz@{address}") as client:
            assert client.new_inbox().startswith("_INBOX.b@x.")
        with pytest.raises(SettingsError, match=r"^NATS refuses the login of HEADRACE_NATS_URL\.$"):
            await connect(Settings(nats_url=f"nats://b%40x:p@{address}"), "test")


async def test_a_server_without_tls_sees_no_login_on_reconnect_either(tmp_path: Path) -> None:
    """The cluster names a server that speaks no TLS: to it nothing is sent at all."""
    heard = bytearray()
    connections = asyncio.Event()

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.0","max_payload":1048576,"auth_required":true}\r\n')
        connections.set()
        heard.extend(await reader.read(4096))
        writer.close()

    impostor = await asyncio.start_server(pretend, "127.0.0.1", 0)
    port = impostor.sockets[0].getsockname()[1]
    authority = Authority(tmp_path / "authority")
    shown = authority.issue("nats")
    tls = f'tls {{ cert_file: "{shown.certificate}", key_file: "{shown.key}" }}\nclient_advertise: "127.0.0.1:{port}"'
    async with impostor:
        with nats_cluster(tmp_path, size=2, more=tls) as cluster:
            url = cluster.url("gateway", 0).replace("nats://", "tls://")
            async with connected(url, ca_file=authority.file) as client:
                await eventually(lambda: bool(client.discovered_servers))
                await asyncio.to_thread(cluster.servers[0].kill)
                async with asyncio.timeout(10):
                    await connections.wait()
                await asyncio.to_thread(cluster.servers[0].start)
                await eventually(lambda: client.is_connected)
    assert bytes(heard) == b""


async def test_clients_spread_over_the_servers_that_are_left(cluster: NatsCluster) -> None:
    clients = [await connect(Settings(nats_url=cluster.url()), "spread") for _ in range(30)]
    try:
        await asyncio.to_thread(cluster.servers[0].kill)
        await eventually(lambda: all(client.is_connected for client in clients))
        here = [client.connected_url.netloc for client in clients if client.connected_url]
        counts = sorted(here.count(address) for address in cluster.addresses)
        assert counts[0] == 0
        assert counts[1] > 2  # of 30; fewer have a chance of one in a million
    finally:
        await asyncio.to_thread(cluster.servers[0].start)
        await asyncio.to_thread(cluster.servers[0].wait_ready)
        await asyncio.gather(*(disconnect(client) for client in clients))


# ---- spreading again


async def pushed_together(cluster: NatsCluster, clients: Sequence[Client]) -> None:
    """Kill and start all servers but the last one, so that every client is on that one."""
    for server in cluster.servers[:-1]:
        await asyncio.to_thread(server.kill)
    last = cluster.addresses[-1]
    await eventually(lambda: all(client.is_connected and at(client) == last for client in clients))
    for server in cluster.servers[:-1]:
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(server.wait_ready)


def at(client: Client) -> str:
    return client.connected_url.netloc if client.connected_url else ""


async def test_clients_spread_again_when_their_servers_are_back(
    cluster: NatsCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [await connect(Settings(nats_url=cluster.url()), "spread") for _ in range(30)]
    subjects = {f"spread.{number}" for number in range(len(clients))}
    received = set()

    async def on_message(message: Msg) -> None:
        received.add(message.subject)

    try:
        for subject, client in zip(subjects, clients, strict=True):
            await client.subscribe(subject, cb=on_message)
        await pushed_together(cluster, clients)
        monkeypatch.setattr("libs.nats_client.MOVE_DELAY_SECONDS", 0.1)
        for client in clients:
            await client.force_reconnect()  # a loss without a killed server: from now on the delay is short

        def is_spread() -> bool:
            here = [at(client) for client in clients]
            return all(client.is_connected for client in clients) and all(
                here.count(address) > 2  # of 30; fewer have a chance of one in a million
                for address in cluster.addresses
            )

        await eventually(is_spread)
        async with connected(cluster.url()) as sender:

            async def all_subscribed() -> bool:  # a server hears of subscriptions at another one a moment later
                for subject in subjects - received:
                    await sender.publish(subject, b"")
                return received == subjects

            await eventually(all_subscribed)
    finally:
        await asyncio.gather(*(disconnect(client) for client in clients))


async def test_a_client_with_open_requests_does_not_move(cluster: NatsCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.nats_client.MOVE_DELAY_SECONDS", 0.05)
    async with connected(cluster.url(UNLIMITED, 2)) as server, connected(cluster.url()) as client:

        async def answer_late(message: Msg) -> None:
            await asyncio.sleep(0.5)
            await message.respond(b"late")

        await server.subscribe("late", cb=answer_late)
        await pushed_together(cluster, [client])
        for _ in range(5):
            assert (await client.request("late", timeout=10)).data == b"late"


# ---- what is too large


@pytest.mark.parametrize("left", [0, 20])
async def test_a_message_that_is_too_large_with_its_headers_leaves_the_connection_alone(
    cluster: NatsCluster, left: int
) -> None:
    """The server would close it, and the client would not come back."""
    async with connected(cluster.url()) as client:
        with pytest.raises(MaxPayloadError):
            await client.publish("x", bytes(client.max_payload - left), headers={"name": "value" * 10})
        await client.publish("x", bytes(client.max_payload - 100), headers={"name": "value" * 10})
        await Responder(client, "counters").answer(GetCounter, echo)
        assert await answered(Caller(client))
