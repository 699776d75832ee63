"""The measured size of a service's data, and its estimated growth."""

from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client
from pymongo import AsyncMongoClient

from libs.documents import Document
from libs.retention.storage_sizes import (
    EVENT_LOG,
    GROWTH_PERIOD,
    PROJECTIONS,
    estimate_daily_growth,
    measure_collections,
    measure_disk,
)
from libs.settings import Settings
from tests.support.infrastructure.event_log import EventLog, create_event_log


@pytest.fixture
async def log(settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client) -> EventLog:
    log = await create_event_log(settings, mongo_client, bus)
    await log.append_commits(30)
    return log


async def test_sizes_are_measured_by_kind(log: EventLog) -> None:
    sizes = await measure_collections(log.database)
    assert sizes[EVENT_LOG] > 0
    assert sizes[PROJECTIONS] == 0
    await log.database["view_totals_v1"].insert_one({"row": {}})
    assert (await measure_collections(log.database))[PROJECTIONS] > 0


async def test_the_growth_counts_what_was_added_in_the_last_days(log: EventLog) -> None:
    now = datetime.now(UTC)
    assert await estimate_daily_growth(log.database, now) > 0
    assert await estimate_daily_growth(log.database, now + GROWTH_PERIOD + timedelta(minutes=1)) == 0


async def test_the_disk_of_the_database_is_measured(log: EventLog) -> None:
    disk = await measure_disk(log.database)
    assert 0 < disk.free_bytes < disk.total_bytes
