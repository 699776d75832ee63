"""Patience with silence: that a runner was not heard counts only while it could have been heard.

After an outage of the service itself, and while a gateway is cut off from it, runners get some time to be heard again.
"""

from datetime import datetime, timedelta

from libs.replicas import COLLECTION, GATEWAY
from libs.service import Context

SHORTEST_OUTAGE = timedelta(seconds=5)  # a restart is none
GATEWAY_SILENT = timedelta(seconds=10)  # more than three heartbeats


async def patient_until(ctx: Context, looks: str, patience: timedelta) -> datetime:
    """Return the database time before which silence must not be held against a runner. To be called by the leader.

    Looks are noted in the collection `looks`, so that a new leader knows how long the former one has not looked. A
    gateway that falls silent extends the patience for `patience` at most: then it counts as gone for good.
    """
    now = ctx.clock.database_time()
    last = await ctx.collection(looks).find_one({"_id": "last"})
    unbroken = last is not None and now - last["at"] <= max(SHORTEST_OUTAGE, patience / 4)
    until = now + patience
    if unbroken and not await _gateway_cut_off(ctx, now, patience):
        # never later: a leader of 0.2.0 whose clock was ahead may have left a time far in the future
        until = min(last["patient_until"], until)
    await ctx.collection(looks).replace_one({"_id": "last"}, {"at": now, "patient_until": until}, upsert=True)
    return until


async def _gateway_cut_off(ctx: Context, now: datetime, patience: timedelta) -> bool:
    since = now - GATEWAY_SILENT
    silent = {"service": GATEWAY, "seen_at": {"$lte": since, "$gt": since - patience}}
    return await ctx.collection(COLLECTION).find_one(silent, {"_id": 1}) is not None
