"""When and from where each runner was last seen: too frequent for events, so one document per runner is kept."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cachetools import LRUCache
from pymongo import UpdateOne

from contracts.runners import RunnerInfo
from libs.service.declaration import Context
from services.runners.projections import LastContact

COLLECTION = "presence"
MAX_WRITE_INTERVAL_SECONDS = 5.0  # seconds
NEVER = float("-inf")
CACHE_SIZE = 20_000  # remembered: a forgotten one is written once more


class PendingHeartbeat(NamedTuple):
    """Of a runner, not yet written."""

    seen_at: datetime  # by the database's clock
    monotonic_time: float  # by the monotonic clock
    fields: dict[str, Any]


class HeartbeatWriter:
    """Writes what was seen of all runners at once, every few seconds; it remembers what this process wrote last.

    What is held back at the end of a process tells little: each runner was written a moment before.
    """

    def __init__(self) -> None:
        self._written: LRUCache[str, float] = LRUCache(CACHE_SIZE)  # runner -> moment of the sighting
        self._held: dict[str, PendingHeartbeat] = {}
        self._wrote_at = NEVER

    async def record(
        self, ctx: Context, runner_uuid: str, ip_address: str, info: RunnerInfo | None, *, immediately: bool
    ) -> None:
        """`at_once`: the sighting counts from now on."""
        moment, patience = ctx.clock.monotonic(), ctx.settings.runner_offline_seconds
        pause = min(MAX_WRITE_INTERVAL_SECONDS, patience / 4)
        unseen = moment - self._written.get(runner_uuid, NEVER)
        if unseen < pause and not immediately:
            return
        said: dict[str, Any] = {"ip_address": ip_address} if ip_address else {}
        if info is not None:
            said["info"] = info.model_dump()
        before = self._held.get(runner_uuid)
        self._held[runner_uuid] = PendingHeartbeat(
            ctx.clock.database_time(), moment, {**(before.fields if before else {}), **said}
        )
        if immediately or unseen > patience / 3 or moment - self._wrote_at >= pause:
            self._wrote_at = moment
            await self._flush(ctx)

    async def _flush(self, ctx: Context) -> None:
        calls, self._held = self._held, {}
        writes = [
            UpdateOne({"_id": uuid}, {"$max": {"seen_at": at}, **({"$set": said} if said else {})}, upsert=True)
            for uuid, (at, _, said) in calls.items()
        ]
        await ctx.collection(COLLECTION).bulk_write(writes, ordered=False)
        self._written.update({uuid: call.monotonic_time for uuid, call in calls.items()})


async def load_last_contacts(ctx: Context, runner_uuids: Sequence[str]) -> dict[str, LastContact]:
    found = ctx.collection(COLLECTION).find({"_id": {"$in": list(runner_uuids)}})
    return {document["_id"]: _to_last_contact(document) async for document in found}


async def load_last_seen_times(ctx: Context) -> dict[str, datetime]:
    """Of all runners; of deleted ones for some time as well."""
    found = ctx.collection(COLLECTION).find({}, {"seen_at": 1})
    return {document["_id"]: document["seen_at"].replace(tzinfo=UTC) async for document in found}


async def delete_others(ctx: Context, runner_uuids: Sequence[str]) -> None:
    await ctx.collection(COLLECTION).delete_many({"_id": {"$nin": list(runner_uuids)}})


def _to_last_contact(document: dict[str, Any]) -> LastContact:
    info = document.get("info")
    return LastContact(
        seen_at=document["seen_at"].replace(tzinfo=UTC),  # also where the driver left the zone out
        ip_address=document.get("ip_address", ""),
        info=RunnerInfo.model_validate(info) if info else None,
    )
