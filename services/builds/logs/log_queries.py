"""Log queries: live and finished logs of builds by section. A pipeline's log has its jobs in order of assignment."""

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.builds import (
    BuildRow,
    BuildStatus,
    GetBuild,
    GetLiveLog,
    GetLogSection,
    JobRow,
    LiveSection,
    LogSection,
    Section,
)
from contracts.errors import RequestRejected
from libs.service.declaration import Context
from services.builds.execution.recent_ends import has_ended_recently
from services.builds.logs.log_lines import LogLines, read_lines_after
from services.builds.logs.log_sections import INIT_SECTION
from services.builds.queries.build_queries import WAITING_OUTPUT, get_build

SECTION_IDS_PER_BUILD = 10_000  # a section's id is the build id times this, plus its index


@dataclass(frozen=True, slots=True)
class LogPart:
    """A section of a build's log, with its text or with a reference to the stored text."""

    section: Section
    attempt_id: str = ""  # empty: `text` has the content
    section_index: int = 0  # index of the section in the attempt's log
    text: str = ""
    attempt_finished: bool = True

    async def read_lines(self, ctx: Context, line_number: int, *, closed: bool) -> LogLines:
        if self.attempt_id:
            return await read_lines_after(ctx, self.attempt_id, self.section_index, line_number, closed=closed)
        lines = self.text.split("\n")
        return LogLines(lines[line_number:], len(lines), more=False)


async def get_live_log(ctx: Context, query: GetLiveLog) -> LiveSection:
    """Return new lines of a section, or of the next section if there are no more. Raises EXECUTOR_NOT_FOUND."""
    build = await _get_live_build(ctx, query.executor_id)
    parts = await _load_parts(ctx, build)
    if build.finished:
        parts += _synthetic_parts(build, parts)
    if not parts:
        return LiveSection(step=INIT_SECTION, log=WAITING_OUTPUT, line_number=0)
    index = next((index for index, part in enumerate(parts) if part.section.step == query.step), 0)
    part = parts[index]
    line_number = query.line_number if part.section.step == query.step else 0
    lines = await part.read_lines(ctx, line_number, closed=part.section.closed_at is not None)
    log = "".join(f"\n{line}" for line in lines.text)
    following = parts[index + 1] if index + 1 < len(parts) else None
    # clients never go back to an earlier section, so another job's section waits until this attempt is finished
    if not lines.text and following and (part.attempt_finished or following.attempt_id == part.attempt_id):
        part = following
        lines = await part.read_lines(ctx, 0, closed=part.section.closed_at is not None)
        log = "\n".join(lines.text)
    return LiveSection(**part.section.model_dump(), log=log, line_number=lines.line_number)


async def _get_live_build(ctx: Context, executor_id: str) -> BuildRow:
    """Return a build that is unfinished or has finished recently. Raises EXECUTOR_NOT_FOUND."""
    build = await get_build(ctx, GetBuild(executor_id=executor_id))
    if build.finished and not await has_ended_recently(ctx, build.id):
        raise RequestRejected("EXECUTOR_NOT_FOUND")
    return build


async def get_log_section(ctx: Context, query: GetLogSection) -> LogSection:
    """Return a section of a finished build's log. Raises BUILD_NOT_FOUND and LOG_NOT_FOUND."""
    build = await get_build(ctx, GetBuild(build_id=query.build_id))
    if not build.finished:
        raise RequestRejected("BUILD_NOT_FOUND", "the build is not finished")
    recorded = await _load_parts(ctx, build)
    parts = [*recorded, *_synthetic_parts(build, recorded)]
    names = [part.section.step for part in parts]
    if query.step != "-1" and query.step not in names:
        raise RequestRejected("LOG_NOT_FOUND")
    index = 0 if query.step == "-1" else names.index(query.step) + 1
    if index >= len(parts):
        raise RequestRejected("LOG_NOT_FOUND")
    lines = await parts[index].read_lines(ctx, query.line_number, closed=True)
    return LogSection(
        **parts[index].section.model_dump(),
        id=build.id * SECTION_IDS_PER_BUILD + index,
        build_id=build.id,
        log="\n".join(lines.text),
        lines=lines.line_number,
        more=lines.more,
    )


def _synthetic_parts(build: BuildRow, recorded: Sequence[LogPart]) -> list[LogPart]:
    """Return the section that the server adds, if any: why a build was killed, or the output of one that ran no job."""
    end = build.completed_at
    text = build.output or build.exit_message or ""
    if build.status is BuildStatus.KILLED:
        return [LogPart(Section(step="abort", start_at=end, closed_at=end, success=False), text=text)]
    if not recorded:
        section = Section(step=INIT_SECTION, start_at=build.queued_at, closed_at=end, success=build.exit_code == 0)
        return [LogPart(section, text=text)]
    return []


async def _load_parts(ctx: Context, build: BuildRow) -> list[LogPart]:
    """Load the log sections of the latest attempts of the build's jobs."""
    if not build.job_ids:
        return []
    if build.jobs:
        jobs = await ctx.read_model(JobRow).find({"build_id": build.id}, [("assigned_at", 1), ("id", 1)])
    else:
        only_job = await ctx.read_model(JobRow).get(f"job-{build.job_ids[0]}")
        jobs = [only_job] if only_job is not None else []
    assigned = {job.token_hash: job for job in jobs if job.token_hash}
    if not assigned:
        return [_pipeline_header(build)] if build.jobs else []
    stored = ctx.collection("attempts").find({"_id": {"$in": list(assigned)}}, {"sections": 1, "finished": 1})
    attempts = {attempt["_id"]: attempt async for attempt in stored}
    result = [_pipeline_header(build)] if build.jobs else []
    for attempt_id, job in assigned.items():
        attempt = attempts.get(attempt_id)
        for index, document in enumerate(attempt["sections"] if attempt else ()):
            section = Section.model_validate(document)
            if build.jobs and index == 0:
                section = section.replace(step=f"{job.name}:{section.step}")
            result.append(LogPart(section, attempt_id, index, attempt_finished=bool(attempt and attempt["finished"])))
    return result


def _pipeline_header(build: BuildRow) -> LogPart:
    """Return the first section of a pipeline's log: its stages with their jobs, and the warnings about its file."""
    stages = dict.fromkeys(job.stage for job in build.jobs)
    lines = [f"{stage}: {', '.join(job.name for job in build.jobs if job.stage == stage)}" for stage in stages]
    lines += [f"WARNING: {warning}" for warning in build.warnings]
    section = Section(
        step=INIT_SECTION, start_at=build.queued_at, closed_at=build.started_at or build.queued_at, success=True
    )
    return LogPart(section, text="\n".join(lines))
