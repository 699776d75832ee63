"""Metrics of the runners service: the numbers of runners that are online and offline."""

from contracts.runners import RunnerRow
from libs.observability.polled_gauges import PolledGauge
from libs.service.declaration import Context


async def count_online(ctx: Context) -> float:
    return await ctx.read_model(RunnerRow).count({"online": True})


async def count_offline(ctx: Context) -> float:
    return await ctx.read_model(RunnerRow).count({"online": False, "active": True})


GAUGES = (
    PolledGauge("headrace_runners_online", "Runners that are online", count_online),
    PolledGauge("headrace_runners_offline", "Active runners that are offline", count_offline),
)
