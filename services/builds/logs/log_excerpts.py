"""Excerpts of the log of one attempt: lines from any position, across section boundaries."""

from collections.abc import Sequence

from pydantic_core import to_json

from contracts.builds import (
    FINISHED_JOB_STATUSES,
    GetJob,
    GetLogLines,
    LogChunk,
    LogExcerpt,
    LogPosition,
    LogStep,
)
from contracts.errors import RequestRejected
from libs.service.declaration import Context
from services.builds.logs.log_lines import MAX_RESPONSE_BYTES, read_lines_after
from services.builds.queries.build_overview import to_log_steps
from services.builds.queries.build_queries import get_job

ATTEMPT_FIELDS = {"number": 1, "sections": 1, "lines": 1, "finished": 1}


async def get_log_lines(ctx: Context, query: GetLogLines) -> LogExcerpt:
    """Return lines of a log, up to the limit of the query and the size of a message.

    The excerpt is empty if no runner has had the job. Raises JOB_NOT_FOUND, and LOG_NOT_FOUND for an unknown attempt.
    """
    of_job = {"job_id": query.job_id, **({"number": query.attempt} if query.attempt else {})}
    attempt = await ctx.collection("attempts").find_one(of_job, ATTEMPT_FIELDS, sort=[("number", -1)])
    if attempt is None or not query.job_id:
        return await _without_log(ctx, query)
    steps = to_log_steps(attempt)
    start = LogPosition(section=query.section, line=query.line)
    if query.tail:
        start = _tail_position(steps, query.tail)
    limit = query.tail or query.limit
    chunks, end, more = await _read_chunks(ctx, attempt["_id"], steps, start, limit, ended=attempt["finished"])
    return LogExcerpt(
        attempt=attempt["number"],
        finished=attempt["finished"],
        total=sum(step.lines for step in steps),
        sections=steps,
        chunks=tuple(chunks),
        next=end,
        more=more,
    )


async def _without_log(ctx: Context, query: GetLogLines) -> LogExcerpt:
    job = await get_job(ctx, GetJob(job_id=query.job_id))
    if query.attempt:
        raise RequestRejected("LOG_NOT_FOUND")
    finished = job.status in FINISHED_JOB_STATUSES
    start = LogPosition(section=0, line=0)
    return LogExcerpt(attempt=0, finished=finished, total=0, sections=(), chunks=(), next=start, more=False)


def _tail_position(steps: Sequence[LogStep], lines: int) -> LogPosition:
    """Return the position of the last `lines` complete lines."""
    for step in reversed(steps):
        if step.lines >= lines:
            return LogPosition(section=step.index, line=step.lines - lines)
        lines -= step.lines
    return LogPosition(section=0, line=0)


async def _read_chunks(
    ctx: Context, attempt_id: str, steps: Sequence[LogStep], start: LogPosition, limit: int, *, ended: bool
) -> tuple[list[LogChunk], LogPosition, bool]:
    """Return chunks from a position, the position after them, and whether there are more."""
    chunks: list[LogChunk] = []
    size, position = 0, start
    while position.section < len(steps):
        step = steps[position.section]
        is_closed = ended or step.closed_at is not None
        found = await read_lines_after(
            ctx,
            attempt_id,
            position.section,
            position.line,
            closed=is_closed,
            max_lines=limit,
            max_bytes=MAX_RESPONSE_BYTES - size,
        )
        if found.text:
            chunk = LogChunk(lines=tuple(found.text), times=tuple(found.times), **position.model_dump())
            chunks.append(chunk)
            size += sum(len(to_json(line)) for line in chunk.lines)
            limit -= len(chunk.lines)
            position = position.replace(line=found.line_number)
        if found.more:
            return chunks, position, True
        if not is_closed or position.section + 1 == len(steps):
            break
        position = LogPosition(section=position.section + 1, line=0)
        if limit <= 0 or size >= MAX_RESPONSE_BYTES // 2:
            return chunks, position, True
    return chunks, position, False
