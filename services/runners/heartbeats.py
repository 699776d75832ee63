"""Last contact of each runner: time, IP address and info.

Heartbeats are too frequent for events, so one document per runner is updated.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from cachetools import LRUCache
from pymongo import UpdateOne

from contracts.messages import Payload
from contracts.runners import RunnerInfo, RunnerRow
from libs.service.declaration import Context
from services.runners.projections import LastContact

HEARTBEATS_COLLECTION = "presence"
MAX_WRITE_INTERVAL_SECONDS = 5.0


NEVER = float("-inf")
CACHE_SIZE = 20_000  # runners; after an eviction the next heartbeat is written at once


class PendingHeartbeat(NamedTuple):
    """A heartbeat that is not written yet."""

    seen_at: datetime  # database time
    monotonic_time: float  # monotonic clock of this process, in seconds
    fields: Payload  # the reported values of IP address and info


class HeartbeatWriter:
    """Collects the heartbeats that this replica receives and writes them together every few seconds.

    Heartbeats that are pending when the process exits are lost. That is acceptable, because the previous heartbeat of
    each of these runners was written a few seconds earlier.
    """

    def __init__(self) -> None:
        # runner UUID -> monotonic time of its last written heartbeat
        self._written: LRUCache[str, float] = LRUCache(CACHE_SIZE)
        self._pending: dict[str, PendingHeartbeat] = {}
        self._flushed_at = NEVER

    async def record(
        self, ctx: Context, runner_uuid: str, ip_address: str, info: RunnerInfo | None, *, immediately: bool
    ) -> None:
        """Record a heartbeat, unless one of the runner was written a few seconds ago.

        With `immediately`, it is recorded in any case, and written before this function returns.
        """
        now, offline_timeout = ctx.clock.monotonic(), ctx.settings.runner_offline_seconds
        interval = min(MAX_WRITE_INTERVAL_SECONDS, offline_timeout / 4)
        age = now - self._written.get(runner_uuid, NEVER)  # seconds since the last written heartbeat of this runner
        if age < interval and not immediately:
            return
        fields: Payload = {"ip_address": ip_address} if ip_address else {}
        if info is not None:
            fields["info"] = info.model_dump()
        if previous := self._pending.get(runner_uuid):
            fields = {**previous.fields, **fields}
        self._pending[runner_uuid] = PendingHeartbeat(ctx.clock.database_time(), now, fields)
        if immediately or age > offline_timeout / 3 or now - self._flushed_at >= interval:
            self._flushed_at = now
            await self._flush(ctx)

    async def _flush(self, ctx: Context) -> None:
        heartbeats, self._pending = self._pending, {}
        writes = [
            UpdateOne(
                {"_id": uuid}, {"$max": {"seen_at": seen_at}, **({"$set": fields} if fields else {})}, upsert=True
            )
            for uuid, (seen_at, _, fields) in heartbeats.items()
        ]
        await ctx.collection(HEARTBEATS_COLLECTION).bulk_write(writes, ordered=False)
        self._written.update({uuid: heartbeat.monotonic_time for uuid, heartbeat in heartbeats.items()})


async def load_last_contacts(ctx: Context, runner_uuids: Sequence[str]) -> dict[str, LastContact]:
    """Return the last contact of these runners by UUID. Runners without a heartbeat are left out."""
    documents = ctx.collection(HEARTBEATS_COLLECTION).find({"_id": {"$in": list(runner_uuids)}})
    return {document["_id"]: _to_last_contact(document) async for document in documents}


async def load_last_seen_times(ctx: Context) -> dict[str, datetime]:
    """Return the time of the last contact of all runners by UUID, including recently deleted runners."""
    documents = ctx.collection(HEARTBEATS_COLLECTION).find({}, {"seen_at": 1})
    return {document["_id"]: document["seen_at"].replace(tzinfo=UTC) async for document in documents}


def _to_last_contact(document: Payload) -> LastContact:
    info = document.get("info")
    return LastContact(
        seen_at=document["seen_at"].replace(tzinfo=UTC),  # the driver returns naive datetimes
        ip_address=document.get("ip_address", ""),
        info=RunnerInfo.model_validate(info) if info else None,
    )


async def purge_heartbeats(ctx: Context) -> None:
    """Delete the heartbeats of deleted runners.

    A runner that registers concurrently may lose its heartbeat. Its next call writes a new one.
    """
    uuids = [uuid for (uuid,) in await ctx.read_model(RunnerRow).find_values({}, "uuid")]
    await ctx.collection(HEARTBEATS_COLLECTION).delete_many({"_id": {"$nin": uuids}})
