"""The health server: liveness, readiness and metrics over a real socket."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import CollectorRegistry

from libs.observability.health import Health, serve_health
from libs.observability.metrics import Metrics
from libs.observability.telemetry import configure_telemetry


async def passing() -> str | None:
    return None


async def stopped() -> str | None:
    return "the follower build_summary is stopped"


async def hanging() -> str | None:
    await asyncio.Event().wait()
    return None


async def failing() -> str | None:
    raise ConnectionRefusedError("mongodb://root:hunter2@host is down")


@pytest.fixture
def health() -> Health:
    return Health(check_timeout_seconds=0.05)


@pytest.fixture
async def port(health: Health) -> AsyncIterator[int]:
    async with serve_health(health, CollectorRegistry(), "127.0.0.1", 0) as port:
        yield port


@pytest.fixture
async def client(port: int) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        yield client


async def test_a_process_whose_checks_pass_is_ready(health: Health, client: httpx.AsyncClient) -> None:
    health.register("mongodb", passing)
    response = await client.get("/readyz?verbose=1")
    assert (response.status_code, response.json()) == (200, {"ready": True, "reasons": {}})


async def test_an_unready_process_lists_its_reasons(health: Health, client: httpx.AsyncClient) -> None:
    health.register("mongodb", passing)
    health.register("followers", stopped)
    health.register("nats", hanging)
    health.register("relay", failing)
    response = await client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {
        "ready": False,
        "reasons": {
            "followers": "the follower build_summary is stopped",
            "nats": "no response within 0.05 s",
            "relay": "ConnectionRefusedError: mongodb://root:[redacted]@host is down",
        },
    }


async def test_an_unready_process_is_still_alive(health: Health, client: httpx.AsyncClient) -> None:
    health.register("followers", stopped)
    assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 404), ("POST", "/healthz", 405)])
async def test_other_paths_and_methods_are_rejected(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    assert (await client.request(method, path)).status_code == status


async def test_a_head_request_gets_no_body(client: httpx.AsyncClient) -> None:
    response = await client.head("/healthz")
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize("request_head", [b"nonsense\r\n\r\n", b"\r\n\r\n"])
async def test_a_malformed_request_gets_status_400(port: int, request_head: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_head)
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_disconnects_early_does_not_disturb_the_server(
    port: int, client: httpx.AsyncClient
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /rea")
    writer.close()
    await writer.wait_closed()
    assert (await client.get("/healthz")).status_code == 200


async def test_an_oversized_request_is_disconnected(client: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.TransportError):
        await client.get("/healthz", headers={"x": "y" * 100_000})


async def test_metrics_are_exported_under_their_names() -> None:
    telemetry = configure_telemetry("builds", "b-1", None)
    metrics = Metrics.create(telemetry.meter)
    metrics.command_seconds.record(0.004, {"service": "builds", "command": "QueueBuild", "outcome": "ok"})
    metrics.conflicts.add(2, {"service": "builds"})
    metrics.followers_stopped.set(1, {"service": "builds", "follower": "f"})
    async with (
        serve_health(Health(), telemetry.registry, "127.0.0.1", 0) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        response = await client.get("/metrics")
    telemetry.shutdown()
    assert response.headers["content-type"].startswith("text/plain")
    labels = 'command="QueueBuild",le="0.005",outcome="ok",service="builds"'
    assert f"headrace_command_seconds_bucket{{{labels}}} 1.0" in response.text
    assert 'headrace_conflicts_total{service="builds"} 2.0' in response.text
    assert 'headrace_followers_stopped{follower="f",service="builds"} 1.0' in response.text


async def test_the_health_port_is_closed_after_shutdown() -> None:
    async with serve_health(Health(), CollectorRegistry(), "127.0.0.1", 0) as port:
        pass
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_check_registered_during_a_round_counts_from_the_next_round(health: Health) -> None:
    async def adding() -> str | None:
        health.register("workers", stopped)
        return None

    health.register("nats", adding)
    assert await health.find_problems() == {}
    assert await health.find_problems() == {"workers": "the follower build_summary is stopped"}
