"""What the service measures: who of the runners is there."""

from libs.measuring import Measure, Reading
from libs.service import Context


async def online(ctx: Context) -> float:
    return await ctx.rows("runner").count({"online": True})


async def offline(ctx: Context) -> float:
    return await ctx.rows("runner").count({"online": False, "active": True})


MEASURES: tuple[Measure, ...] = (
    Reading("headrace_runners_online", "Runners seen lately", online),
    Reading("headrace_runners_offline", "Runners that may work and have not been seen lately", offline),
)
