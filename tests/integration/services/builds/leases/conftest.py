"""Fixture: the builds service with a simulated clock."""

from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client
from opentelemetry.metrics import get_meter
from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document
from libs.observability.metrics import Metrics
from libs.service.runtime import Runtime
from libs.settings import Settings
from services.builds.app import service
from services.builds.execution.attempts import AttemptStore
from services.builds.execution.leases import Leases
from services.builds.execution.runner_reports import RunnerReports
from tests.integration.services.builds.leases.lease_stage import LEASE_SECONDS, LeaseStage
from tests.support.memory_key_vault import MemoryKeyVault


@pytest.fixture
async def stage(settings: Settings, database: AsyncDatabase[Document], bus: Client) -> AsyncIterator[LeaseStage]:
    own_settings = settings.model_copy(update={"job_lease_seconds": LEASE_SECONDS})
    runtime = Runtime(service, own_settings, database, bus, MemoryKeyVault(), Metrics.create(get_meter("test")))
    attempts = AttemptStore()
    running = LeaseStage(runtime, attempts, Leases(attempts, RunnerReports(attempts)))
    await running.assign_job()
    yield running
    await runtime.finish(5)
