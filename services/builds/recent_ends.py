"""Builds that ended a moment ago: their live logs stay readable, so that who polls sees how they ended.

The moment is the database's, since the clocks of replicas differ. It is recorded before the decision that may end the
build: a build that ends has its moment, and the moment of one that goes on is of no use and expires.
"""

from libs.service import Context

ENDS = "recent_ends"
UNTIL = "readable_until"
READABLE_SECONDS = 10


async def record_end(ctx: Context, build_id: int) -> None:
    """Note that the build ends now, unless it has ended before: a command may be repeated long afterwards."""
    if not await ctx.rows("build").values({"_id": f"build-{build_id}", "finished": False}, "id"):
        return
    until = {"$add": ["$$NOW", READABLE_SECONDS * 1000]}
    await ctx.collection(ENDS).update_one({"_id": build_id}, [{"$set": {UNTIL: until}}], upsert=True)


async def ended_recently(ctx: Context, build_id: int) -> bool:
    condition = {"_id": build_id, "$expr": {"$gt": [f"${UNTIL}", "$$NOW"]}}
    return await ctx.collection(ENDS).find_one(condition, {"_id": 1}) is not None
