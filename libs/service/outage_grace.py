"""Patience with silence: that a runner was not heard counts only while it could have been heard.

After an outage of the service itself, and while a gateway is cut off from it, runners get some time to be heard again.
"""

from datetime import datetime, timedelta

from libs.service.declaration import Context
from libs.service.replicas import GATEWAY, REPLICAS

MIN_OUTAGE = timedelta(seconds=5)  # a restart is none
GATEWAY_TIMEOUT = timedelta(seconds=10)  # more than three heartbeats


async def compute_grace_deadline(ctx: Context, scans: str, grace: timedelta) -> datetime:
    """Return the database time before which silence must not be held against a runner. To be called by the leader.

    Looks are noted in the collection `looks`, so that a new leader knows how long the former one has not looked. A
    gateway that falls silent extends the patience for `patience` at most: then it counts as gone for good.
    """
    now = ctx.clock.database_time()
    last = await ctx.collection(scans).find_one({"_id": "last"})
    unbroken = last is not None and now - last["at"] <= max(MIN_OUTAGE, grace / 4)
    until = now + grace
    if unbroken and not await _is_gateway_cut_off(ctx, now, grace):
        # never later: a leader of 0.2.0 whose clock was ahead may have left a time far in the future
        until = min(last["patient_until"], until)
    await ctx.collection(scans).replace_one({"_id": "last"}, {"at": now, "patient_until": until}, upsert=True)
    return until


async def _is_gateway_cut_off(ctx: Context, now: datetime, grace: timedelta) -> bool:
    since = now - GATEWAY_TIMEOUT
    silent = {"service": GATEWAY, "seen_at": {"$lte": since, "$gt": since - grace}}
    return await ctx.collection(REPLICAS).find_one(silent, {"_id": 1}) is not None
