"""Fixtures: gateways with fake services that know one runner and no job."""

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from contracts.builds import (
    ClaimJob,
    ClaimResult,
)
from contracts.runners import (
    AuthenticateRunner,
)
from gateway.adapters.gitlab import job_request
from tests.integration.gateway.runner_protocol.runner_requests import HOLD_SECONDS, RUNNER
from tests.support.in_process.gateway_stage import (
    GatewayStage,
    open_gateway_stage,
    running_gateway,
)
from tests.support.infrastructure.servers import running_nats
from tests.support.waiting import eventually


@pytest.fixture(scope="package")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayStage]:
    with running_nats(tmp_path_factory.mktemp("bus")) as server:
        async with open_gateway_stage(server.program.url, long_poll_seconds=HOLD_SECONDS) as running:
            yield running


@pytest.fixture(scope="package")
async def long_poll_stage(stage: GatewayStage) -> AsyncIterator[GatewayStage]:
    """Run a second gateway on the same fake services. It holds job requests for longer than a test takes."""
    settings = stage.gateway.state.settings.model_copy(update={"long_poll_seconds": 60})
    async with (
        running_gateway(settings) as (gateway, server, url),
        httpx.AsyncClient(base_url=url, timeout=90) as http,
    ):
        yield replace(stage, http=http, gateway=gateway, server=server)


@pytest.fixture(autouse=True)
def no_rechecks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let only hints wake held requests. In a test that takes long, their rechecks would send further claims."""
    monkeypatch.setattr(job_request, "RECHECK_SECONDS", 600.0)


@pytest.fixture(autouse=True)
async def one_runner_and_no_job(stage: GatewayStage) -> None:
    # a request abandoned by an earlier test would pass its jobs on to the requests of this test
    await eventually(lambda: len(stage.gateway.state.long_polls) == 0)
    stage.services.received.clear()
    await stage.services.serve(AuthenticateRunner, lambda _: RUNNER)
    await stage.services.serve(ClaimJob, lambda _: ClaimResult(assignment=None))
