"""Refused deliveries. They come from senders who prove nothing, so they are no events: a sample is kept beside the log.

Of each project there is a counter and a ring of the last entries. At most ten new entries are made in a minute; what
comes beyond replaces the newest one, which counts them.
"""

from typing import Any
from uuid import uuid4

from pymongo import ReturnDocument

from contracts.projects import Decision, Provider
from libs.rows import Rows
from libs.service import Context
from services.projects.delivery_views import DeliveryRow

KEPT_PER_PROJECT = 20
MAX_NEW_PER_MINUTE = 10
MAX_NAME_LENGTH = 255  # characters kept of what a request calls itself
COUNTERS = "refusals"
ENTRIES = "refused_deliveries"
INDEXES = {ENTRIES: (("row.project_id", "-row.received_at", "-row.id"), ("row.id",))}
CODES = frozenset({"WEBHOOK_PROVIDER_NOT_SUPPORTED", "WEBHOOK_SIGNATURE_INVALID", "WEBHOOK_PAYLOAD_INVALID"})


async def note_refusal(
    ctx: Context, project_id: int, provider: Provider | None, event: str, size: int, code: str
) -> None:
    count = await _counted(ctx, project_id)
    row = DeliveryRow(
        id=str(uuid4()),
        project_id=project_id,
        provider=provider,
        event=event[:MAX_NAME_LENGTH],
        decision=Decision.REFUSED,
        code=code,
        size=size,
        unrecorded=count["skipped"],
        refused_total=count["total"],
        received_at=ctx.clock.database_time(),
    )
    slot = f"{project_id}-{(count['made'] - 1) % KEPT_PER_PROJECT}"
    newest: Any = {"$cond": [{"$gt": ["$row.refused_total", count["total"]]}, "$row", {"$literal": row.model_dump()}]}
    await ctx.collection(ENTRIES).update_one({"_id": slot}, [{"$set": {"row": newest}}], upsert=True)


async def _counted(ctx: Context, project_id: int) -> dict[str, Any]:
    minute: Any = {"$dateToString": {"date": "$$NOW", "format": "%Y-%m-%dT%H:%M"}}
    in_minute: Any = {"$cond": [{"$eq": ["$minute", minute]}, {"$add": ["$in_minute", 1]}, 1]}
    beyond: Any = {"$gt": ["$in_minute", MAX_NEW_PER_MINUTE]}
    found: dict[str, Any] = await ctx.collection(COUNTERS).find_one_and_update(
        {"_id": project_id},
        [
            {"$set": {"minute": minute, "in_minute": in_minute, "total": _increased("$total")}},
            {
                "$set": {
                    "made": {"$cond": [beyond, "$made", _increased("$made")]},
                    "skipped": {"$cond": [beyond, _increased("$skipped"), 0]},
                }
            },
        ],
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    # `made` is missing where a replica of 0.2.0 has counted this minute
    return {**found, "made": found.get("made") or 1}


def _increased(field: str) -> dict[str, Any]:
    return {"$add": [{"$ifNull": [field, 0]}, 1]}


def entries(ctx: Context) -> Rows[DeliveryRow]:
    return Rows(ctx.collection(ENTRIES), DeliveryRow, "row")


async def find(ctx: Context, delivery_id: str) -> DeliveryRow | None:
    return await entries(ctx).one({"id": delivery_id})


async def forget(ctx: Context, project_id: int) -> None:
    await ctx.collection(COUNTERS).delete_one({"_id": project_id})
    await ctx.collection(ENTRIES).delete_many({"row.project_id": project_id})
