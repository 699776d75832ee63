"""When and from where each runner was last seen: too frequent for events, so one document per runner is kept."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cachetools import LRUCache
from pymongo import UpdateOne

from contracts.runners import RunnerInfo
from libs.service import Context
from services.runners.views import Sighting

COLLECTION = "presence"
LONGEST_PAUSE = 5.0  # seconds
NEVER = float("-inf")
MAX_RUNNERS = 20_000  # remembered: a forgotten one is written once more


class Call(NamedTuple):
    """Of a runner, not yet written."""

    at: datetime  # by the database's clock
    moment: float  # by the monotonic clock
    said: dict[str, Any]


class Presence:
    """Writes what was seen of all runners at once, every few seconds; it remembers what this process wrote last.

    What is held back at the end of a process tells little: each runner was written a moment before.
    """

    def __init__(self) -> None:
        self._written: LRUCache[str, float] = LRUCache(MAX_RUNNERS)  # runner -> moment of the sighting
        self._held: dict[str, Call] = {}
        self._wrote_at = NEVER

    async def note(
        self, ctx: Context, runner_uuid: str, ip_address: str, info: RunnerInfo | None, *, at_once: bool
    ) -> None:
        """`at_once`: the sighting counts from now on."""
        moment, patience = ctx.clock.monotonic(), ctx.settings.runner_offline_seconds
        pause = min(LONGEST_PAUSE, patience / 4)
        unseen = moment - self._written.get(runner_uuid, NEVER)
        if unseen < pause and not at_once:
            return
        said: dict[str, Any] = {"ip_address": ip_address} if ip_address else {}
        if info is not None:
            said["info"] = info.model_dump()
        before = self._held.get(runner_uuid)
        self._held[runner_uuid] = Call(ctx.clock.database_time(), moment, {**(before.said if before else {}), **said})
        if at_once or unseen > patience / 3 or moment - self._wrote_at >= pause:
            self._wrote_at = moment
            await self._write(ctx)

    async def _write(self, ctx: Context) -> None:
        calls, self._held = self._held, {}
        writes = [
            UpdateOne({"_id": uuid}, {"$max": {"seen_at": at}, **({"$set": said} if said else {})}, upsert=True)
            for uuid, (at, _, said) in calls.items()
        ]
        await ctx.collection(COLLECTION).bulk_write(writes, ordered=False)
        self._written.update({uuid: call.moment for uuid, call in calls.items()})


async def sightings(ctx: Context, runner_uuids: Sequence[str]) -> dict[str, Sighting]:
    found = ctx.collection(COLLECTION).find({"_id": {"$in": list(runner_uuids)}})
    return {document["_id"]: _sighting(document) async for document in found}


async def last_seen(ctx: Context) -> dict[str, datetime]:
    """Of all runners; of deleted ones for some time as well."""
    found = ctx.collection(COLLECTION).find({}, {"seen_at": 1})
    return {document["_id"]: document["seen_at"].replace(tzinfo=UTC) async for document in found}


async def keep_only(ctx: Context, runner_uuids: Sequence[str]) -> None:
    await ctx.collection(COLLECTION).delete_many({"_id": {"$nin": list(runner_uuids)}})


def _sighting(document: dict[str, Any]) -> Sighting:
    info = document.get("info")
    return Sighting(
        seen_at=document["seen_at"].replace(tzinfo=UTC),  # also where the driver left the zone out
        ip_address=document.get("ip_address", ""),
        info=RunnerInfo.model_validate(info) if info else None,
    )
