"""Rejected webhook requests, stored outside the event log because their senders are not authenticated.

Each project has a counter and a ring buffer of the last entries. At most MAX_NEW_ENTRIES_PER_MINUTE entries are added
per minute; a further request replaces the newest entry, which counts the requests that it replaced.
"""

from uuid import uuid4

from pymongo import ReturnDocument

from contracts.projects import DeliveryDecision, Provider
from libs.documents import Document
from libs.projections.read_model import ReadModel
from libs.service.declaration import Context
from services.projects.webhooks.delivery_projection import DeliveryRow

MAX_ENTRIES_PER_PROJECT = 20
MAX_NEW_ENTRIES_PER_MINUTE = 10
MAX_NAME_LENGTH = 255  # characters stored of the event name
COUNTERS_COLLECTION = "refusals"
ENTRIES_COLLECTION = "refused_deliveries"
INDEXES = {ENTRIES_COLLECTION: (("row.project_id", "-row.received_at", "-row.id"), ("row.id",))}
RECORDED_CODES = frozenset({"WEBHOOK_PROVIDER_NOT_SUPPORTED", "WEBHOOK_SIGNATURE_INVALID", "WEBHOOK_PAYLOAD_INVALID"})


async def record_rejection(
    ctx: Context, project_id: int, provider: Provider | None, event: str, size: int, code: str
) -> None:
    """Count a rejected request and store it in the ring buffer. `size`: bytes of the body."""
    counters = await _count_rejection(ctx, project_id)
    row = DeliveryRow(
        id=str(uuid4()),
        project_id=project_id,
        provider=provider,
        event=event[:MAX_NAME_LENGTH],
        decision=DeliveryDecision.REFUSED,
        code=code,
        size=size,
        unrecorded=counters["skipped"],
        refused_total=counters["total"],
        received_at=ctx.clock.database_time(),
    )
    slot = f"{project_id}-{(counters['made'] - 1) % MAX_ENTRIES_PER_PROJECT}"
    newest: Document = {
        "$cond": [{"$gt": ["$row.refused_total", counters["total"]]}, "$row", {"$literal": row.model_dump()}]
    }
    await ctx.collection(ENTRIES_COLLECTION).update_one({"_id": slot}, [{"$set": {"row": newest}}], upsert=True)


async def _count_rejection(ctx: Context, project_id: int) -> Document:
    """Increment and return the counters of a project.

    `total`: all rejections; `made`: stored entries; `skipped`: rejections not stored since the last entry.
    """
    minute: Document = {"$dateToString": {"date": "$$NOW", "format": "%Y-%m-%dT%H:%M"}}
    in_minute: Document = {"$cond": [{"$eq": ["$minute", minute]}, {"$add": ["$in_minute", 1]}, 1]}
    is_over_limit: Document = {"$gt": ["$in_minute", MAX_NEW_ENTRIES_PER_MINUTE]}
    counters = await ctx.collection(COUNTERS_COLLECTION).find_one_and_update(
        {"_id": project_id},
        [
            {"$set": {"minute": minute, "in_minute": in_minute, "total": _increment("$total")}},
            {
                "$set": {
                    "made": {"$cond": [is_over_limit, "$made", _increment("$made")]},
                    "skipped": {"$cond": [is_over_limit, _increment("$skipped"), 0]},
                }
            },
        ],
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    assert counters is not None  # noqa: S101  an upsert returns a document
    # replicas of 0.2.0 do not write `made`
    return {**counters, "made": counters.get("made") or 1}


def _increment(field: str) -> Document:
    """Return an aggregation expression for the field plus one; a missing field counts as 0."""
    return {"$add": [{"$ifNull": [field, 0]}, 1]}


def rejected_deliveries(ctx: Context) -> ReadModel[DeliveryRow]:
    return ReadModel(ctx.collection(ENTRIES_COLLECTION), DeliveryRow, "row")


async def find_rejection(ctx: Context, delivery_id: str) -> DeliveryRow | None:
    return await rejected_deliveries(ctx).find_one({"id": delivery_id})


async def delete_rejections(ctx: Context, project_id: int) -> None:
    await ctx.collection(COUNTERS_COLLECTION).delete_one({"_id": project_id})
    await ctx.collection(ENTRIES_COLLECTION).delete_many({"row.project_id": project_id})
