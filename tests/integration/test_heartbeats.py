"""The heartbeats of gateways, on real servers and with the permissions that processes have."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from opentelemetry.metrics import NoOpMeterProvider

from gateway import heartbeat
from gateway.heartbeat import SERVICES, Heart
from libs.clock import Clock, now
from libs.connections import database_of, mongo
from libs.messaging import connect
from libs.observability.metrics import clock_offset
from libs.replicas import COLLECTION, GATEWAY
from libs.service import Service
from libs.settings import Settings
from services.builds.app import service as builds
from services.runners.app import service as runners
from tests.integration.gateway_stage import serving
from tests.integration.stage import Stage, empty_stage
from tests.integration.whole import itself
from tests.support import eventually
from tests.support.servers import Servers


@pytest.fixture
async def stage(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(heartbeat, "INTERVAL_SECONDS", 0.1)
    async with empty_stage(servers) as stage:
        await stage.migrate(builds, runners, *(Service(name, categories=()) for name in ("identity", "projects")))
        yield stage


def gateway_settings(stage: Stage) -> Settings:
    assert stage.servers is not None
    return replace(stage.settings, nats_url=stage.servers.nats_for("gateway"), instance="gateway-0")


async def gateways(stage: Stage, service: str) -> list[dict[str, Any]]:
    async with mongo(stage.settings, "test") as client:
        return await database_of(client, stage.settings, service)[COLLECTION].find({"service": GATEWAY}).to_list()


async def readiness(url: str) -> dict[str, str]:
    async with httpx.AsyncClient(trust_env=False) as http:
        return dict((await http.get(f"{url}/readyz")).json()["reasons"])


def told_skew(reason: str) -> float:
    """How far a clock is ahead by what a person reads."""
    found = re.fullmatch(r"the clock is (\S+) s (ahead of|behind) the database's; synchronise it \(NTP\)", reason)
    assert found is not None, reason
    return float(found[1]) * (1 if found[2] == "ahead of" else -1)


async def test_services_know_of_a_gateway_until_it_stops(stage: Stage) -> None:
    async with stage.running(partial(itself, builds)), stage.running(partial(itself, runners)):
        async with serving(gateway_settings(stage)):
            for service in SERVICES:

                async def known(service: str = service) -> bool:
                    return [one["instance"] for one in await gateways(stage, service)] == ["gateway-0"]

                await eventually(known)

        async def forgotten() -> bool:
            return [await gateways(stage, service) for service in SERVICES] == [[], []]

        await eventually(forgotten)


@pytest.mark.parametrize("skew", [90.0, -90.0])
async def test_a_gateway_with_a_wrong_clock_is_not_ready_and_says_why(stage: Stage, skew: float) -> None:
    clock = Clock(lambda: now() + timedelta(seconds=skew))
    async with (
        stage.running(partial(itself, builds)),
        stage.running(partial(itself, runners)),
        serving(gateway_settings(stage), clock) as (_, _, url),
    ):

        async def not_ready() -> bool:
            return "clock" in await readiness(url)

        await eventually(not_ready)
        assert told_skew((await readiness(url))["clock"]) == pytest.approx(skew, abs=1)

        async def told() -> bool:
            offsets = [one["clock_offset"] for one in await gateways(stage, "builds")]
            return offsets == [pytest.approx(skew, abs=1)]

        await eventually(told)


async def test_a_gateway_beside_services_that_know_no_heartbeats_is_ready(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "headrace.gateway"):
        async with serving(gateway_settings(stage)) as (_, _, url):
            await eventually(lambda: caplog.text.count("did not answer the heartbeat") > 4)
            assert await readiness(url) == {}
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


async def test_a_gateway_that_may_not_send_heartbeats_tries_once(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """As with the permissions of 0.2.0; here it has the login of a service, which may send none either."""
    assert stage.servers is not None
    client = await connect(replace(stage.settings, nats_url=stage.servers.nats_for("notifications")), "test")
    heart = Heart(client, "gateway-0", Clock(), clock_offset(NoOpMeterProvider().get_meter("test")))
    beating = asyncio.create_task(heart.beat())
    await eventually(lambda: not any(client.may_publish(f"qry.{service}.Heartbeat") for service in SERVICES))
    sent = client.stats["out_msgs"]
    with suppress(TimeoutError):
        async with asyncio.timeout(3):  # the first answers are waited for, and are followed by many beats
            await asyncio.shield(beating)
    beating.cancel()
    assert client.stats["out_msgs"] == sent
    refused = [one.getMessage() for one in caplog.records if "permissions violation" in one.getMessage()]
    assert len(refused) == len(SERVICES)
    await client.close()
