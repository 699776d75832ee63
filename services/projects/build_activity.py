"""Projections of build events: the steps, finished builds and last build of each project."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from contracts.builds import BuildDeleted, BuildFinished, BuildPlanned
from contracts.messages import Event, ReadModelRow
from contracts.projects import LastBuild
from libs.eventstore.decider import RecordedEvent
from libs.service.declaration import BATCH_SECONDS, Context, Projection

MAX_BUILD_IDS = 10_000  # build ids in the view of a single project
MAX_BUILD_IDS_IN_LIST = 100  # build ids of each project in a list of projects
MAX_CONCURRENT_QUERIES = 16


class StepsRow(ReadModelRow):
    """The step names of a project, from its newest planned build."""

    project_id: int = 0
    planned_id: int = 0  # id of the newest planned build
    available_steps: tuple[str, ...] = ()


def steps_key(recorded: RecordedEvent[Event]) -> str | None:
    return f"project-{recorded.event.project_id}" if isinstance(recorded.event, BuildPlanned) else None


def apply_build_planned(row: StepsRow, recorded: RecordedEvent[BuildPlanned]) -> StepsRow:
    planned = recorded.event
    if planned.build_id < row.planned_id:
        return row
    return StepsRow(project_id=planned.project_id, planned_id=planned.build_id, available_steps=planned.available_steps)


project_steps_projection = Projection(
    "project_steps",
    "builds",
    steps_key,
    StepsRow(),
    apply_build_planned,
    indexes=(("project_id",),),
    batch_seconds=BATCH_SECONDS,
)


class FinishedBuildRow(ReadModelRow):
    """A finished build, except one that was killed before a runner got a job of it.

    Each build has its own row, because a project may have very many builds.
    """

    id: int = 0
    project_id: int = 0
    exit_code: int | None = None
    exit_message: str | None = None
    created_at: datetime | None = None


def finished_build_key(recorded: RecordedEvent[Event]) -> str | None:
    return recorded.stream if isinstance(recorded.event, BuildFinished | BuildDeleted) else None


def apply_build_end(_row: FinishedBuildRow, recorded: RecordedEvent[BuildFinished | BuildDeleted]) -> FinishedBuildRow:
    match recorded.event:
        case BuildFinished(ran=True) as finished:
            return FinishedBuildRow(
                id=finished.build_id,
                project_id=finished.project_id,
                exit_code=finished.exit_code,
                exit_message=finished.exit_message,
                created_at=finished.queued_at,
            )
        case _:
            return FinishedBuildRow()


finished_builds_projection = Projection(
    "project_builds",
    "builds",
    finished_build_key,
    FinishedBuildRow(),
    apply_build_end,
    indexes=(("project_id", "-id"),),
    is_deleted=lambda row: row.id == 0,
    batch_seconds=BATCH_SECONDS,
)


@dataclass(frozen=True, slots=True)
class BuildActivity:
    """The builds of a project, as shown in the view of the project."""

    available_steps: tuple[str, ...] = ()
    builds_id: tuple[int, ...] = ()  # newest finished builds, in ascending order
    last_build: LastBuild = field(default_factory=LastBuild)


async def load_build_activity(ctx: Context, project_ids: Sequence[int], max_build_ids: int) -> dict[int, BuildActivity]:
    """Return the activity of each project. It is empty for a project without builds."""
    condition = {"project_id": {"$in": list(project_ids)}}
    steps = {row.project_id: row.available_steps for row in await ctx.read_model(StepsRow).find(condition)}
    builds: dict[int, tuple[int, ...]] = {}
    for start in range(0, len(project_ids), MAX_CONCURRENT_QUERIES):
        chunk = project_ids[start : start + MAX_CONCURRENT_QUERIES]
        ids = await asyncio.gather(*(_load_newest_ids(ctx, project_id, max_build_ids) for project_id in chunk))
        builds |= zip(chunk, ids, strict=True)
    last_builds = await load_last_builds(ctx, project_ids)
    return {
        project_id: BuildActivity(
            steps.get(project_id, ()), builds[project_id], last_builds.get(project_id, LastBuild())
        )
        for project_id in project_ids
    }


async def _load_newest_ids(ctx: Context, project_id: int, limit: int) -> tuple[int, ...]:
    rows = ctx.read_model(FinishedBuildRow)
    ids = await rows.find_values({"project_id": project_id}, "id", order=[("project_id", 1), ("id", -1)], limit=limit)
    return tuple(build_id for (build_id,) in reversed(ids))


async def load_last_builds(ctx: Context, project_ids: Sequence[int]) -> dict[int, LastBuild]:
    """Return the finished build with the highest id of each project. Builds may finish out of order.

    Projects without a finished build are left out.
    """
    condition = {"project_id": {"$in": list(project_ids)}}
    rows = await ctx.read_model(FinishedBuildRow).latest_per("project_id", "id", condition)
    return {
        row.project_id: LastBuild(exit_code=row.exit_code, exit_message=row.exit_message, created_at=row.created_at)
        for row in rows
    }
