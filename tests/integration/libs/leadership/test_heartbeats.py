"""Heartbeats of gateways on real servers, with the real NATS permissions."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from opentelemetry.metrics import NoOpMeterProvider

from gateway import heartbeat
from gateway.heartbeat import SERVICES, HeartbeatSender
from libs.clock import Clock, now
from libs.messaging.nats_connection import connect
from libs.observability.metrics import create_clock_offset_gauge
from libs.service.connections import create_mongo_client, get_database
from libs.service.declaration import Service
from libs.service.replicas import GATEWAY, REPLICAS
from libs.settings import Settings
from services.builds.app import service as builds
from services.runners.app import service as runners
from tests.support.in_process.gateway_stage import running_gateway
from tests.support.in_process.running_system import return_service
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import eventually


@pytest.fixture
async def stage(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ServiceStage]:
    monkeypatch.setattr(heartbeat, "INTERVAL_SECONDS", 0.1)
    async with empty_stage(servers) as stage:
        await stage.migrate(builds, runners, *(Service(name, categories=()) for name in ("identity", "projects")))
        yield stage


def gateway_settings(stage: ServiceStage) -> Settings:
    assert stage.servers is not None
    return stage.settings.model_copy(
        update={"nats_url": stage.servers.nats_url_for("gateway"), "instance": "gateway-0"}
    )


async def list_gateways(stage: ServiceStage, service: str) -> list[dict[str, Any]]:
    async with create_mongo_client(stage.settings, "test") as client:
        return await get_database(client, stage.settings, service)[REPLICAS].find({"service": GATEWAY}).to_list()


async def get_readiness_reasons(url: str) -> dict[str, str]:
    async with httpx.AsyncClient() as http:
        return dict((await http.get(f"{url}/readyz")).json()["reasons"])


def parse_skew(reason: str) -> float:
    """Return the seconds by which the clock is ahead according to a readiness reason. Negative: the clock is behind."""
    found = re.fullmatch(r"the clock is (\S+) s (ahead of|behind) the database's; synchronize it \(NTP\)", reason)
    assert found is not None, reason
    return float(found[1]) * (1 if found[2] == "ahead of" else -1)


async def test_services_list_a_gateway_until_it_stops(stage: ServiceStage) -> None:
    async with stage.running(partial(return_service, builds)), stage.running(partial(return_service, runners)):
        async with running_gateway(gateway_settings(stage)):
            for service in SERVICES:

                async def is_known(service: str = service) -> bool:
                    return [gateway["instance"] for gateway in await list_gateways(stage, service)] == ["gateway-0"]

                await eventually(is_known)

        async def is_forgotten() -> bool:
            return [await list_gateways(stage, service) for service in SERVICES] == [[], []]

        await eventually(is_forgotten)


@pytest.mark.parametrize("skew", [90.0, -90.0])
async def test_a_gateway_with_a_skewed_clock_is_not_ready_and_reports_the_skew(
    stage: ServiceStage, skew: float
) -> None:
    clock = Clock(lambda: now() + timedelta(seconds=skew))
    async with (
        stage.running(partial(return_service, builds)),
        stage.running(partial(return_service, runners)),
        running_gateway(gateway_settings(stage), clock) as (_, _, url),
    ):

        async def is_not_ready() -> bool:
            return "clock" in await get_readiness_reasons(url)

        await eventually(is_not_ready)
        assert parse_skew((await get_readiness_reasons(url))["clock"]) == pytest.approx(skew, abs=1)

        async def is_reported() -> bool:
            offsets = [gateway["clock_offset"] for gateway in await list_gateways(stage, "builds")]
            return offsets == [pytest.approx(skew, abs=1)]

        await eventually(is_reported)


async def test_a_gateway_is_ready_with_services_that_do_not_answer_heartbeats(
    stage: ServiceStage, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "headrace.gateway"):
        async with running_gateway(gateway_settings(stage)) as (_, _, url):
            await eventually(lambda: caplog.text.count("did not answer the heartbeat") > 4)
            assert await get_readiness_reasons(url) == {}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_gateway_without_the_heartbeat_permission_tries_once(
    stage: ServiceStage, caplog: pytest.LogCaptureFixture
) -> None:
    """The permissions of release 0.2.0 allow gateways no heartbeats. Nor does the service login used here."""
    assert stage.servers is not None
    client = await connect(
        stage.settings.model_copy(update={"nats_url": stage.servers.nats_url_for("notifications")}), "test"
    )
    heart = HeartbeatSender(
        client, "gateway-0", Clock(), create_clock_offset_gauge(NoOpMeterProvider().get_meter("test"))
    )
    beating = asyncio.create_task(heart.run())
    await eventually(lambda: not any(client.may_publish(f"qry.{service}.Heartbeat") for service in SERVICES))
    sent = client.stats["out_msgs"]
    with suppress(TimeoutError):
        async with asyncio.timeout(3):  # enough for the first replies and many heartbeat intervals
            await asyncio.shield(beating)
    beating.cancel()
    assert client.stats["out_msgs"] == sent
    refused = [record.getMessage() for record in caplog.records if "permissions violation" in record.getMessage()]
    assert len(refused) == len(SERVICES)
    await client.close()
