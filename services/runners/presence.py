"""When and from where each runner was last seen: too frequent for events, so one document per runner is kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from contracts.runners import RunnerInfo
from libs.service import Context
from services.runners.views import Sighting

COLLECTION = "presence"
LONGEST_PAUSE = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Presence:
    """Writes a runner's sighting once in a few seconds; what this process wrote last is all that it remembers.

    Nothing is held back: a call is either written or so close to a written one that it tells nothing new.
    """

    written: dict[str, datetime] = field(default_factory=dict)  # runner -> time of the sighting

    async def note(self, ctx: Context, runner_uuid: str, ip_address: str, info: RunnerInfo | None) -> None:
        at = ctx.cause.at
        pause = timedelta(seconds=min(LONGEST_PAUSE, ctx.settings.runner_offline_seconds / 4))
        written = self.written.get(runner_uuid)
        if written and abs(at - written) < pause:  # abs: a clock that was set back must not silence the runner
            return
        said: dict[str, Any] = {"ip_address": ip_address} if ip_address else {}
        if info is not None:
            said["info"] = info.model_dump()
        await ctx.collection(COLLECTION).update_one(
            {"_id": runner_uuid}, {"$max": {"seen_at": at}, **({"$set": said} if said else {})}, upsert=True
        )
        self.written[runner_uuid] = at


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
