"""Logs section by section, while they grow and afterwards. Of several jobs one follows the other, as they began."""

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

SECTION_IDS_PER_BUILD = 10_000  # numbers of log sections: build number times this, plus the section's place


@dataclass(frozen=True, slots=True)
class LogPart:
    """A section of the log of a build, and where its text is."""

    section: Section
    attempt_id: str = ""  # none: the words are its text
    section_index: int = 0  # of the section in the log of the attempt
    text: str = ""
    attempt_finished: bool = True  # the attempt is

    async def read_lines(self, ctx: Context, line_number: int, *, closed: bool) -> LogLines:
        if self.attempt_id:
            return await read_lines_after(ctx, self.attempt_id, self.section_index, line_number, closed=closed)
        lines = self.text.split("\n")
        return LogLines(lines[line_number:], len(lines), more=False)


async def read_live_log(ctx: Context, query: GetLiveLog) -> LiveSection:
    build = await _get_live_build(ctx, query.executor_id)
    parts = await _load_parts(ctx, build)
    if build.finished:
        parts += _synthetic_parts(build, parts)
    if not parts:
        return LiveSection(step=INIT_SECTION, log=WAITING_OUTPUT, line_number=0)
    place = next((place for place, one in enumerate(parts) if one.section.step == query.step), 0)
    part = parts[place]
    shown = query.line_number if part.section.step == query.step else 0
    lines = await part.read_lines(ctx, shown, closed=part.section.closed_at is not None)
    log = "".join(f"\n{line}" for line in lines.text)
    following = parts[place + 1] if place + 1 < len(parts) else None
    # readers never come back: what other jobs say waits until this one has said all
    if not lines.text and following and (part.attempt_finished or following.attempt_id == part.attempt_id):
        part = following
        lines = await part.read_lines(ctx, 0, closed=part.section.closed_at is not None)
        log = "\n".join(lines.text)
    return LiveSection(**part.section.model_dump(), log=log, line_number=lines.line_number)


async def _get_live_build(ctx: Context, executor_id: str) -> BuildRow:
    """The queued or running build with this id, or one that ended a moment ago."""
    build = await get_build(ctx, GetBuild(executor_id=executor_id))
    if build.finished and not await has_ended_recently(ctx, build.id):
        raise RequestRejected("EXECUTOR_NOT_FOUND")
    return build


async def read_log(ctx: Context, query: GetLogSection) -> LogSection:
    build = await get_build(ctx, GetBuild(build_id=query.build_id))
    if not build.finished:
        raise RequestRejected("BUILD_NOT_FOUND", "the build is not finished")
    recorded = await _load_parts(ctx, build)
    parts = [*recorded, *_synthetic_parts(build, recorded)]
    names = [part.section.step for part in parts]
    if query.step != "-1" and query.step not in names:
        raise RequestRejected("LOG_NOT_FOUND")
    place = 0 if query.step == "-1" else names.index(query.step) + 1
    if place >= len(parts):
        raise RequestRejected("LOG_NOT_FOUND")
    lines = await parts[place].read_lines(ctx, query.line_number, closed=True)
    return LogSection(
        **parts[place].section.model_dump(),
        id=build.id * SECTION_IDS_PER_BUILD + place,
        build_id=build.id,
        log="\n".join(lines.text),
        lines=lines.line_number,
        more=lines.more,
    )


def _synthetic_parts(build: BuildRow, recorded: Sequence[LogPart]) -> list[LogPart]:
    """What is told as a section of the log although no runner wrote it."""
    end = build.completed_at
    words = build.output or build.exit_message or ""
    if build.status is BuildStatus.KILLED:
        return [LogPart(Section(step="abort", start_at=end, closed_at=end, success=False), text=words)]
    if not recorded:
        section = Section(step=INIT_SECTION, start_at=build.queued_at, closed_at=end, success=build.exit_code == 0)
        return [LogPart(section, text=words)]
    return []


async def _load_parts(ctx: Context, build: BuildRow) -> list[LogPart]:
    """Of the present or last attempts of its jobs, so far."""
    if not build.job_ids:
        return []
    jobs: list[JobRow]
    if build.jobs:
        jobs = await ctx.read_model("job").find({"build_id": build.id}, [("assigned_at", 1), ("id", 1)])
    else:
        alone: JobRow | None = await ctx.read_model("job").get(f"job-{build.job_ids[0]}")
        jobs = [alone] if alone is not None else []
    assigned = {job.token_hash: job for job in jobs if job.token_hash}
    if not assigned:
        return [_pipeline_header(build)] if build.jobs else []
    wanted = {"sections": 1, "finished": 1}
    attempts = {
        one["_id"]: one async for one in ctx.collection("attempts").find({"_id": {"$in": list(assigned)}}, wanted)
    }
    result = [_pipeline_header(build)] if build.jobs else []
    for attempt_id, job in assigned.items():
        found = attempts.get(attempt_id)
        for place, raw in enumerate(found["sections"] if found else ()):
            section = Section.model_validate(raw)
            if build.jobs and place == 0:
                section = section.replace(step=f"{job.name}:{section.step}")
            result.append(LogPart(section, attempt_id, place, attempt_finished=bool(found and found["finished"])))
    return result


def _pipeline_header(build: BuildRow) -> LogPart:
    """What a pipeline is, and what of its file has no effect."""
    stages = dict.fromkeys(job.stage for job in build.jobs)
    words = [f"{stage}: {', '.join(job.name for job in build.jobs if job.stage == stage)}" for stage in stages]
    words += [f"WARNING: {warning}" for warning in build.warnings]
    section = Section(
        step=INIT_SECTION, start_at=build.queued_at, closed_at=build.started_at or build.queued_at, success=True
    )
    return LogPart(section, text="\n".join(words))
