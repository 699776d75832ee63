"""What people ask: builds, and logs section by section."""

from collections.abc import Sequence

from contracts.builds import (
    BuildRow,
    BuildStatus,
    GetBuild,
    GetJob,
    JobRow,
    ListBuildsOfProject,
    ListRunning,
    LiveSection,
    LogSection,
    ReadLiveLog,
    ReadLog,
    ReadOutput,
    Section,
)
from contracts.errors import Refused
from libs.service import Context
from services.builds.lines import Lines, lines_after
from services.builds.sections import INIT
from services.builds.waiting import NOT_STARTED

WAITING = "The build waits in the queue or is just being started."
LOGS_PER_BUILD = 10_000  # numbers of log sections: build number times this, plus the section's place


async def get_build(ctx: Context, query: GetBuild) -> BuildRow:
    if query.build_id is not None:
        build: BuildRow | None = await ctx.rows("build").get(f"build-{query.build_id}")
        if build is None:
            raise Refused("BUILD_NOT_FOUND")
        return build
    running: BuildRow | None = await ctx.rows("build").one({"executor_id": query.executor_id or ""})
    if running is None:
        raise Refused("EXECUTOR_NOT_FOUND")
    return running


async def get_job(ctx: Context, query: GetJob) -> JobRow:
    job: JobRow | None = await ctx.rows("job").get(f"job-{query.job_id}")
    if job is None:
        raise Refused("JOB_NOT_FOUND")
    return job.but(token_hash="")


async def list_running(ctx: Context, _query: ListRunning) -> list[BuildRow]:
    on_a_runner = {"$in": [BuildStatus.RUNNING, BuildStatus.CANCELING]}
    return await ctx.rows("build").find({"finished": False, "status": on_a_runner}, [("id", 1)])


async def list_builds_of_project(ctx: Context, query: ListBuildsOfProject) -> list[BuildRow]:
    condition = {"project_id": query.project_id, "finished": True, "ran": True}
    order = [("id", -1 if query.limit else 1)]
    builds: list[BuildRow] = await ctx.rows("build").find(condition, order, limit=query.limit)
    return sorted(builds, key=lambda build: build.id)


async def read_output(ctx: Context, query: ReadOutput) -> bytes:
    build = await _unfinished(ctx, query.executor_id)
    return (WAITING if build.status in NOT_STARTED else build.output or "").encode()


async def _unfinished(ctx: Context, executor_id: str) -> BuildRow:
    build = await get_build(ctx, GetBuild(executor_id=executor_id))
    if build.finished:
        raise Refused("EXECUTOR_NOT_FOUND")
    return build


async def read_live_log(ctx: Context, query: ReadLiveLog) -> LiveSection:
    build = await _unfinished(ctx, query.executor_id)
    attempt_id, sections = await _sections(ctx, build)
    if not sections:
        return LiveSection(step=INIT, log=WAITING, line_number=0)
    place = next((place for place, one in enumerate(sections) if one.step == query.step), 0)
    shown = query.line_number if sections[place].step == query.step else 0
    section = sections[place]
    lines = await lines_after(ctx, attempt_id, place, shown, whole=section.closed_at is not None)
    if not lines.text and place + 1 < len(sections):
        section = sections[place + 1]
        lines = await lines_after(ctx, attempt_id, place + 1, 0, whole=section.closed_at is not None)
        log = "\n".join(lines.text)
    else:
        log = "".join(f"\n{line}" for line in lines.text)
    return LiveSection(**section.model_dump(), log=log, line_number=lines.known)


async def read_log(ctx: Context, query: ReadLog) -> LogSection:
    build = await get_build(ctx, GetBuild(build_id=query.build_id))
    if not build.finished:
        raise Refused("BUILD_NOT_FOUND", "the build is not finished")
    attempt_id, recorded = await _sections(ctx, build)
    sections = [*recorded, *_added(build, recorded)]
    names = [section.step for section in sections]
    if query.step != "-1" and query.step not in names:
        raise Refused("LOG_NOT_FOUND")
    place = 0 if query.step == "-1" else names.index(query.step) + 1
    if place >= len(sections):
        raise Refused("LOG_NOT_FOUND")
    if place < len(recorded):
        lines = await lines_after(ctx, attempt_id, place, query.line_number, whole=True)
    else:
        lines = Lines((build.output or build.exit_message or "",), 1, more=False)
    return LogSection(
        **sections[place].model_dump(),
        id=build.id * LOGS_PER_BUILD + place,
        build_id=build.id,
        log="\n".join(lines.text),
        lines=lines.known,
        more=lines.more,
    )


def _added(build: BuildRow, recorded: Sequence[Section]) -> list[Section]:
    """What is told as a section of the log although no runner wrote it."""
    end = build.completed_at
    if build.status is BuildStatus.KILLED:
        return [Section(step="abort", start_at=end, closed_at=end, success=False)]
    if not recorded:
        return [Section(step=INIT, start_at=build.queued_at, closed_at=end, success=build.exit_code == 0)]
    return []


async def _sections(ctx: Context, build: BuildRow) -> tuple[str, list[Section]]:
    """The present or last attempt of the build's job, and its sections so far."""
    if not build.job_ids:
        return "", []
    job: JobRow | None = await ctx.rows("job").get(f"job-{build.job_ids[0]}")
    if job is None or not job.token_hash:
        return "", []
    found = await ctx.collection("attempts").find_one({"_id": job.token_hash}, {"sections": 1})
    if found is None:
        return "", []
    return job.token_hash, [Section.model_validate(one) for one in found["sections"]]
