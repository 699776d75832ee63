"""Failover of clients and readiness of processes while a server of a NATS cluster hangs."""

import asyncio
from fnmatch import fnmatch
from pathlib import Path

import httpx
import pytest
from nats.errors import MaxPayloadError

from contracts.errors import RequestRejected
from gateway.app import PROBE_SUBJECT as GATEWAY_PROBE_SUBJECT
from infra.local.nats_server import UNLIMITED_LOGIN
from libs.messaging.message_server import MessageServer
from libs.messaging.nats_connection import connect, disconnect
from libs.messaging.request_reply import Headers, MessageClient
from libs.service.service_host import PROBE_SUBJECT
from libs.settings import Settings
from tests.integration.libs.messaging.nats_cluster.cluster_clients import (
    DETECTION_SECONDS,
    connected_client,
    server_of,
    wait_until_moved,
)
from tests.support.counters.counters import GetCounter
from tests.support.external.certificates import CertificateAuthority
from tests.support.in_process.gateway_stage import running_gateway
from tests.support.infrastructure.nats_cluster import NatsCluster, frozen, nats_cluster
from tests.support.waiting import eventually

GET_QUERY = GetCounter(counter_id="1")
LOST_REQUEST_SECONDS = 2.0  # time after which a request to an unreachable replica is repeated


async def echo(body: bytes, _headers: Headers) -> bytes:
    return body


async def is_answered(caller: MessageClient) -> bool:
    try:
        return bool(await caller.query(GET_QUERY, timeout=LOST_REQUEST_SECONDS))
    except RequestRejected:
        return False


async def test_requests_fail_over_when_a_nats_server_hangs(cluster: NatsCluster) -> None:
    async with connected_client(cluster.url()) as requester, connected_client(cluster.url()) as answering:
        await MessageServer(answering, "counters").serve(GetCounter, echo)
        with frozen(server_of(requester, cluster)):
            await eventually(lambda: is_answered(MessageClient(requester)), within=DETECTION_SECONDS + 2)
            await eventually(lambda: is_answered(MessageClient(requester)))


async def test_requests_are_not_routed_to_a_replica_behind_a_hanging_nats_server(cluster: NatsCluster) -> None:
    """Until the other servers drop their routes to the hanging server, the replica behind it still gets requests."""
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
                # by chance, this is true too early in one of a million runs
                return len(answers) >= 20 and all(answers[-20:])

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
    with nats_cluster(tmp_path, size=1) as single:
        async with connected_client(single.url()) as client:
            with frozen(single.servers[0]):
                await eventually(lambda: not client.is_connected, within=DETECTION_SECONDS)
                async with asyncio.timeout(10):  # half of this request's timeout
                    with pytest.raises(RequestRejected, match="SERVICE_UNAVAILABLE"):
                        await MessageClient(client).query(GET_QUERY, timeout=20)
            await MessageServer(client, "counters").serve(GetCounter, echo)
            await eventually(lambda: is_answered(MessageClient(client)))


async def test_disconnecting_from_a_hanging_nats_server_is_quick(cluster: NatsCluster) -> None:
    client = await connect(Settings(nats_url=cluster.url()), "test")
    with frozen(server_of(client, cluster)):
        floods = [asyncio.create_task(client.publish("flood", bytes(8_000_000))) for _ in range(4)]
        await asyncio.wait(floods, timeout=0.5)
        async with asyncio.timeout(10):
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


async def get_readiness_reasons(url: str) -> dict[str, str]:
    async with httpx.AsyncClient() as http:
        return dict((await http.get(f"{url}/readyz")).json()["reasons"])


async def test_a_gateway_is_not_ready_while_its_nats_server_hangs(tmp_path: Path) -> None:
    """The gateway's login may use few subjects. The readiness probe must work with those."""
    with nats_cluster(tmp_path, size=1) as single:
        async with running_gateway(Settings(nats_url=single.url("gateway"))) as (_, _, url):
            assert await get_readiness_reasons(url) == {}

            async def is_unready() -> bool:
                return "NATS" in (await get_readiness_reasons(url)).get("nats", "")

            async def is_ready() -> bool:
                return await get_readiness_reasons(url) == {}

            with frozen(single.servers[0]):
                await eventually(is_unready, within=DETECTION_SECONDS)
            await eventually(is_ready, within=DETECTION_SECONDS)


async def test_the_connection_probe_uses_subjects_permitted_in_0_2_0() -> None:
    """The expected subjects are those that `infra/nats/nats.conf` of release 0.2.0 permits."""
    assert GATEWAY_PROBE_SUBJECT == "qry.identity.AboutOne"
    assert fnmatch(PROBE_SUBJECT, "settled.*")


@pytest.mark.parametrize("left", [0, 20])
async def test_a_message_above_the_limit_with_its_headers_is_rejected_by_the_client(
    cluster: NatsCluster, left: int
) -> None:
    """If the client sent the message, the server would close the connection, and the client would not reconnect."""
    async with connected_client(cluster.url()) as client:
        with pytest.raises(MaxPayloadError):
            await client.publish("x", bytes(client.max_payload - left), headers={"name": "value" * 10})
        await client.publish("x", bytes(client.max_payload - 100), headers={"name": "value" * 10})
        await MessageServer(client, "counters").serve(GetCounter, echo)
        assert await is_answered(MessageClient(client))
