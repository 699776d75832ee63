"""Durations of jobs, measured by the log sections of their last attempts."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from contracts.builds import Section
from libs.service.declaration import Context


async def duration_ms_of_jobs(ctx: Context, job_ids: Sequence[int]) -> int:
    return await _sum_duration_ms(ctx, {"job_id": {"$in": list(job_ids)}})


async def duration_ms_of_build(ctx: Context, build_id: int) -> int:
    return await _sum_duration_ms(ctx, {"build_id": build_id})


async def _sum_duration_ms(ctx: Context, query: dict[str, object]) -> int:
    last = {
        attempt["job_id"]: attempt["sections"]
        async for attempt in ctx.collection("attempts").find(query, sort=[("number", 1)])
    }
    sections = [Section.model_validate(section) for sections in last.values() for section in sections]
    return sum(_section_duration_ms(section, ctx.clock.database_time()) for section in sections)


def _section_duration_ms(section: Section, now: datetime) -> int:
    start = section.start_at or now
    return max((section.closed_at or now) - start, timedelta()) // timedelta(milliseconds=1)
