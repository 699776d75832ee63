"""Builds that ended a moment ago: their live logs stay readable, so that who polls sees how they ended.

The moment is the database's, since the clocks of replicas differ. It is recorded before the decision that may end the
build: a build that ends has its moment, and the moment of one that goes on is of no use and expires.
"""

from libs.service.declaration import Context

RECENT_ENDS = "recent_ends"
READABLE_UNTIL = "readable_until"
READABLE_SECONDS = 10


async def record_end(ctx: Context, build_id: int) -> None:
    """Note that the build ends now, unless it has ended before: a command may be repeated long afterwards."""
    if not await ctx.read_model("build").find_values({"_id": f"build-{build_id}", "finished": False}, "id"):
        return
    until = {"$add": ["$$NOW", READABLE_SECONDS * 1000]}
    await ctx.collection(RECENT_ENDS).update_one({"_id": build_id}, [{"$set": {READABLE_UNTIL: until}}], upsert=True)


async def has_ended_recently(ctx: Context, build_id: int) -> bool:
    condition = {"_id": build_id, "$expr": {"$gt": [f"${READABLE_UNTIL}", "$$NOW"]}}
    return await ctx.collection(RECENT_ENDS).find_one(condition, {"_id": 1}) is not None
