"""Logs section by section, while they grow and afterwards. Of several jobs one follows the other, as they began."""

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.builds import (
    BuildRow,
    BuildStatus,
    GetBuild,
    JobRow,
    LiveSection,
    LogSection,
    ReadLiveLog,
    ReadLog,
    Section,
)
from contracts.errors import Refused
from libs.service import Context
from services.builds.lines import Lines, lines_after
from services.builds.reading import WAITING, get_build
from services.builds.recent_ends import ended_recently
from services.builds.sections import INIT

LOGS_PER_BUILD = 10_000  # numbers of log sections: build number times this, plus the section's place


@dataclass(frozen=True, slots=True)
class Part:
    """A section of the log of a build, and where its text is."""

    section: Section
    attempt: str = ""  # none: the words are its text
    place: int = 0  # of the section in the log of the attempt
    words: str = ""
    over: bool = True  # the attempt is

    async def lines(self, ctx: Context, known: int, *, whole: bool) -> Lines:
        if self.attempt:
            return await lines_after(ctx, self.attempt, self.place, known, whole=whole)
        lines = self.words.split("\n")
        return Lines(lines[known:], len(lines), more=False)


async def read_live_log(ctx: Context, query: ReadLiveLog) -> LiveSection:
    build = await _watched(ctx, query.executor_id)
    parts = await _parts(ctx, build)
    if build.finished:
        parts += _added(build, parts)
    if not parts:
        return LiveSection(step=INIT, log=WAITING, line_number=0)
    place = next((place for place, one in enumerate(parts) if one.section.step == query.step), 0)
    part = parts[place]
    shown = query.line_number if part.section.step == query.step else 0
    lines = await part.lines(ctx, shown, whole=part.section.closed_at is not None)
    log = "".join(f"\n{line}" for line in lines.text)
    following = parts[place + 1] if place + 1 < len(parts) else None
    # readers never come back: what other jobs say waits until this one has said all
    if not lines.text and following and (part.over or following.attempt == part.attempt):
        part = following
        lines = await part.lines(ctx, 0, whole=part.section.closed_at is not None)
        log = "\n".join(lines.text)
    return LiveSection(**part.section.model_dump(), log=log, line_number=lines.known)


async def _watched(ctx: Context, executor_id: str) -> BuildRow:
    """The queued or running build with this id, or one that ended a moment ago."""
    build = await get_build(ctx, GetBuild(executor_id=executor_id))
    if build.finished and not await ended_recently(ctx, build.id):
        raise Refused("EXECUTOR_NOT_FOUND")
    return build


async def read_log(ctx: Context, query: ReadLog) -> LogSection:
    build = await get_build(ctx, GetBuild(build_id=query.build_id))
    if not build.finished:
        raise Refused("BUILD_NOT_FOUND", "the build is not finished")
    recorded = await _parts(ctx, build)
    parts = [*recorded, *_added(build, recorded)]
    names = [part.section.step for part in parts]
    if query.step != "-1" and query.step not in names:
        raise Refused("LOG_NOT_FOUND")
    place = 0 if query.step == "-1" else names.index(query.step) + 1
    if place >= len(parts):
        raise Refused("LOG_NOT_FOUND")
    lines = await parts[place].lines(ctx, query.line_number, whole=True)
    return LogSection(
        **parts[place].section.model_dump(),
        id=build.id * LOGS_PER_BUILD + place,
        build_id=build.id,
        log="\n".join(lines.text),
        lines=lines.known,
        more=lines.more,
    )


def _added(build: BuildRow, recorded: Sequence[Part]) -> list[Part]:
    """What is told as a section of the log although no runner wrote it."""
    end = build.completed_at
    words = build.output or build.exit_message or ""
    if build.status is BuildStatus.KILLED:
        return [Part(Section(step="abort", start_at=end, closed_at=end, success=False), words=words)]
    if not recorded:
        section = Section(step=INIT, start_at=build.queued_at, closed_at=end, success=build.exit_code == 0)
        return [Part(section, words=words)]
    return []


async def _parts(ctx: Context, build: BuildRow) -> list[Part]:
    """Of the present or last attempts of its jobs, so far."""
    if not build.job_ids:
        return []
    jobs: list[JobRow]
    if build.jobs:
        jobs = await ctx.rows("job").find({"build_id": build.id}, [("assigned_at", 1), ("id", 1)])
    else:
        alone: JobRow | None = await ctx.rows("job").get(f"job-{build.job_ids[0]}")
        jobs = [alone] if alone is not None else []
    assigned = {job.token_hash: job for job in jobs if job.token_hash}
    if not assigned:
        return [_introduction(build)] if build.jobs else []
    wanted = {"sections": 1, "finished": 1}
    attempts = {
        one["_id"]: one async for one in ctx.collection("attempts").find({"_id": {"$in": list(assigned)}}, wanted)
    }
    result = [_introduction(build)] if build.jobs else []
    for attempt_id, job in assigned.items():
        found = attempts.get(attempt_id)
        for place, raw in enumerate(found["sections"] if found else ()):
            section = Section.model_validate(raw)
            if build.jobs and place == 0:
                section = section.but(step=f"{job.name}:{section.step}")
            result.append(Part(section, attempt_id, place, over=bool(found and found["finished"])))
    return result


def _introduction(build: BuildRow) -> Part:
    """What a pipeline is, and what of its file has no effect."""
    stages = dict.fromkeys(job.stage for job in build.jobs)
    words = [f"{stage}: {', '.join(job.name for job in build.jobs if job.stage == stage)}" for stage in stages]
    words += [f"WARNING: {warning}" for warning in build.warnings]
    section = Section(step=INIT, start_at=build.queued_at, closed_at=build.started_at or build.queued_at, success=True)
    return Part(section, words="\n".join(words))
