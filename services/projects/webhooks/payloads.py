"""Payloads of accepted deliveries, stored until their builds have finished. Deliveries of forks have no payload."""

from datetime import timedelta

from contracts.builds import BuildFinished, BuildRow, GetBuild
from contracts.errors import RequestRejected
from contracts.projects import GetWebhookPayload, ProjectDeleted
from libs.eventstore.decider import RecordedEvent
from libs.service.declaration import Context
from services.projects.webhooks import rejections
from services.projects.webhooks.delivery_projection import DeliveryRow

PAYLOADS_COLLECTION = "request_bodies"
ORPHAN_AGE = timedelta(hours=1)


async def store_payload(ctx: Context, project_id: int, delivery_id: str, content: bytes) -> None:
    document = {"project_id": project_id, "body": content, "at": ctx.clock.database_time()}
    await ctx.collection(PAYLOADS_COLLECTION).replace_one({"_id": delivery_id}, document, upsert=True)


async def get_webhook_payload(ctx: Context, query: GetWebhookPayload) -> bytes:
    document = await ctx.collection(PAYLOADS_COLLECTION).find_one({"_id": query.delivery_id})
    return bytes(document["body"]) if document else b""


async def delete_payload(ctx: Context, recorded: RecordedEvent[BuildFinished]) -> None:
    """Delete the payload of a finished build. A build launched by a delivery has the delivery's id as executor_id."""
    await ctx.collection(PAYLOADS_COLLECTION).delete_one({"_id": recorded.event.executor_id})


async def purge_project(ctx: Context, recorded: RecordedEvent[ProjectDeleted]) -> None:
    await ctx.collection(PAYLOADS_COLLECTION).delete_many({"project_id": recorded.event.project_id})
    await rejections.delete_rejections(ctx, recorded.event.project_id)


async def purge_orphan_payloads(ctx: Context) -> None:
    """Delete payloads whose delivery was never recorded because of a crash, or whose build has finished."""
    old = {"at": {"$lt": ctx.clock.database_time() - ORPHAN_AGE}}
    async for document in ctx.collection(PAYLOADS_COLLECTION).find(old, {"_id": 1}):
        if not await _is_needed(ctx, document["_id"]):
            await ctx.collection(PAYLOADS_COLLECTION).delete_one({"_id": document["_id"]})


async def _is_needed(ctx: Context, delivery_id: str) -> bool:
    if await ctx.read_model(DeliveryRow).get(f"delivery-{delivery_id}") is None:
        return False
    try:
        return not (await ctx.query(GetBuild(executor_id=delivery_id), BuildRow)).finished
    except RequestRejected as rejected:
        if rejected.code != "EXECUTOR_NOT_FOUND":
            raise
        return True  # the build is not queued yet
