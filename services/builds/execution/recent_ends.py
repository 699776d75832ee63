"""Recently finished builds, whose live logs stay readable for a few seconds so that polling clients see the end.

The time is recorded before the command that may finish the build, by the database's clock, because replicas' clocks
differ. If the build does not finish, the record is unused and expires.
"""

from contracts.builds import BuildRow
from libs.service.declaration import Context

RECENT_ENDS = "recent_ends"
READABLE_UNTIL = "readable_until"
READABLE_SECONDS = 10


async def record_end(ctx: Context, build_id: int) -> None:
    """Record that the build may finish now.

    If the command may be a duplicate, a finished build is ignored, because a client can repeat a command much later.
    """
    unfinished = {"_id": f"build-{build_id}", "finished": False}
    if ctx.metadata.may_be_duplicate and not await ctx.read_model(BuildRow).find_values(unfinished, "id"):
        return
    until = {"$add": ["$$NOW", READABLE_SECONDS * 1000]}
    await ctx.collection(RECENT_ENDS).update_one({"_id": build_id}, [{"$set": {READABLE_UNTIL: until}}], upsert=True)


async def has_ended_recently(ctx: Context, build_id: int) -> bool:
    """Return whether the live log of a finished build is still readable."""
    condition = {"_id": build_id, "$expr": {"$gt": [f"${READABLE_UNTIL}", "$$NOW"]}}
    return await ctx.collection(RECENT_ENDS).find_one(condition, {"_id": 1}) is not None
