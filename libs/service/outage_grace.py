"""The grace period for runners after an outage.

While the service was down or a gateway was disconnected from it, runners could not report. After such an outage they
have some time to report before they are considered lost.
"""

from datetime import datetime, timedelta

from libs.service.declaration import Context
from libs.service.replicas import GATEWAY, REPLICAS

MIN_OUTAGE = timedelta(seconds=5)  # shorter interruptions, such as a restart, are ignored
GATEWAY_TIMEOUT = timedelta(seconds=10)  # more than three heartbeat intervals


async def compute_grace_deadline(ctx: Context, scans: str, grace: timedelta) -> datetime:
    """Return the database time before which a silent runner must not be considered lost.

    The leader calls this at each scan. The collection `scans` stores the time and result of the last scan, from which a
    new leader detects an outage. A silent gateway extends the grace period by at most `grace`; after that it is
    considered removed.
    """
    now = ctx.clock.database_time()
    last = await ctx.collection(scans).find_one({"_id": "last"})
    was_scanning = last is not None and now - last["at"] <= max(MIN_OUTAGE, grace / 4)
    until = now + grace
    if last is not None and was_scanning and not await _is_gateway_cut_off(ctx, now, grace):
        # a leader of 0.2.0 with a wrong clock may have stored a time in the far future
        until = min(last["patient_until"], until)
    await ctx.collection(scans).replace_one({"_id": "last"}, {"at": now, "patient_until": until}, upsert=True)
    return until


async def _is_gateway_cut_off(ctx: Context, now: datetime, grace: timedelta) -> bool:
    since = now - GATEWAY_TIMEOUT
    silent = {"service": GATEWAY, "seen_at": {"$lte": since, "$gt": since - grace}}
    return await ctx.collection(REPLICAS).find_one(silent, {"_id": 1}) is not None
