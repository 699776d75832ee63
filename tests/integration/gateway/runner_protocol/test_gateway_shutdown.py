"""Held job requests while a gateway stops."""

import asyncio

import pytest

from contracts.builds import (
    ClaimJob,
    ClaimResult,
)
from contracts.runners import (
    AuthenticateRunner,
)
from tests.integration.gateway.runner_protocol.runner_requests import RUNNER, start_job_request, wait_for_held_requests
from tests.support.in_process.gateway_stage import (
    open_gateway_stage,
)
from tests.support.infrastructure.servers import running_nats


async def test_a_stopping_gateway_answers_held_requests(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_nats(tmp_path_factory.mktemp("bus")) as server:
        async with open_gateway_stage(server.program.url, long_poll_seconds=60) as stage:
            await stage.services.serve(AuthenticateRunner, lambda _: RUNNER)
            await stage.services.serve(ClaimJob, lambda _: ClaimResult(assignment=None))
            request = start_job_request(stage)
            await wait_for_held_requests(stage)
            stage.server.begin_shutdown()
            response = await asyncio.wait_for(request, 40)
    assert (response.status_code, response.headers["connection"]) == (204, "close")


async def test_a_draining_gateway_still_serves_and_closes_its_connections(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running_nats(tmp_path_factory.mktemp("bus")) as server:
        async with open_gateway_stage(server.program.url, long_poll_seconds=60, leave_seconds=60) as stage:
            await stage.services.serve(AuthenticateRunner, lambda _: RUNNER)
            await stage.services.serve(ClaimJob, lambda _: ClaimResult(assignment=None))
            request = start_job_request(stage)
            await wait_for_held_requests(stage)
            stage.server.begin_shutdown()
            for path, status in (("/readyz", 503), ("/api/openapi.json", 200)):
                response = await stage.http.get(path)
                assert (response.status_code, response.headers["connection"]) == (status, "close")
            assert not request.done()
            stage.server.begin_shutdown()
            response = await asyncio.wait_for(request, 40)
    assert (response.status_code, response.headers["connection"]) == (204, "close")
