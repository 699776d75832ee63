"""Records of the processes that work on a service's data: last seen time and clock offset.

The service's database has one document per process. A replica writes its own document. A gateway has no database, so
the service writes the gateway's document at each heartbeat. If such a write is lost, the next one replaces it.
"""

import asyncio
import logging
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import NoReturn

from pymongo import WriteConcern
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from libs.clock import READ_INTERVAL_SECONDS, Clock
from libs.documents import Document
from libs.observability.metrics import SettableGauge
from libs.service.connections import get_server_time

log = logging.getLogger("headrace.replicas")

REPLICAS = "replicas"
GATEWAY = "gateway"
MAX_SILENCE = timedelta(days=1)


def get_replicas(database: AsyncDatabase[Document]) -> AsyncCollection[Document]:
    return database.get_collection(REPLICAS, write_concern=WriteConcern(1))


async def record_alive(
    database: AsyncDatabase[Document], service: str, instance: str, at: datetime, clock_offset: float | None
) -> None:
    """Record that a process is alive. `at` is database time; `clock_offset` is in seconds, None if unknown."""
    alive = {"service": service, "instance": instance, "clock_offset": clock_offset}
    change = {"$set": alive, "$max": {"seen_at": at}}
    await get_replicas(database).update_one({"_id": f"{service} {instance}"}, change, upsert=True)


async def remove_replica(database: AsyncDatabase[Document], service: str, instance: str) -> None:
    await get_replicas(database).delete_one({"_id": f"{service} {instance}"})


async def remove_silent(database: AsyncDatabase[Document], now: datetime) -> None:
    """Remove the records of processes that were not seen for a day."""
    await get_replicas(database).delete_many({"seen_at": {"$lt": now - MAX_SILENCE}})


class Replica:
    """Synchronizes a replica's clock with the database and records that the replica is alive."""

    def __init__(
        self, database: AsyncDatabase[Document], service: str, instance: str, clock: Clock, offset: SettableGauge
    ) -> None:
        self._database = database
        self._service = service
        self._instance = instance
        self._clock = clock
        self._offset = offset

    async def start(self) -> None:
        """Wait until the database's time is known."""
        while self._clock.offset is None:
            try:
                await self._synchronize_clock()
            except PyMongoError as error:
                log.warning("waiting for the database's time (%s)", type(error).__name__)
                await asyncio.sleep(0.5)

    async def run(self) -> NoReturn:
        """Read the database time and record that the replica is alive, until canceled.

        During an outage of the database the last time read stays in use.
        """
        while True:
            try:
                await self._synchronize_clock()
                at = self._clock.database_time()
                await record_alive(self._database, self._service, self._instance, at, self._clock.offset)
            except PyMongoError as error:
                log.debug("reading the database's time failed: %s", type(error).__name__)
            await asyncio.sleep(READ_INTERVAL_SECONDS)

    async def stop(self) -> None:
        with suppress(PyMongoError):
            await remove_replica(self._database, self._service, self._instance)

    async def _synchronize_clock(self) -> None:
        await self._clock.synchronize(partial(get_server_time, self._database))
        self._clock.log_problem()
        self._offset.set(self._clock.offset or 0.0, {"service": self._service})
