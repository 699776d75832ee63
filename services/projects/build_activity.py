"""What happened to the builds of each project, followed from the builds."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from contracts.builds import BuildDeleted, BuildFinished, BuildPlanned
from contracts.messages import ReadModelRow
from contracts.projects import LastBuild
from libs.eventstore.decider import RecordedEvent
from libs.service.declaration import Context, Projection

MAX_BUILD_IDS = 10_000  # of one project
MAX_BUILD_IDS_IN_LIST = 100  # of each project in a list
MAX_CONCURRENT_QUERIES = 16


class StepsRow(ReadModelRow):
    """The steps of a project, as its newest plan has them."""

    project_id: int = 0
    planned_id: int = 0  # the build that the steps are of
    available_steps: tuple[str, ...] = ()


def steps_key(recorded: RecordedEvent[Any]) -> str | None:
    return f"project-{recorded.event.project_id}" if isinstance(recorded.event, BuildPlanned) else None


def apply_build_planned(row: StepsRow, recorded: RecordedEvent[BuildPlanned]) -> StepsRow:
    planned = recorded.event
    if planned.build_id < row.planned_id:
        return row
    return StepsRow(project_id=planned.project_id, planned_id=planned.build_id, available_steps=planned.available_steps)


project_steps_projection = Projection(
    "project_steps", "builds", steps_key, StepsRow(), apply_build_planned, indexes=(("project_id",),)
)


class FinishedBuildRow(ReadModelRow):
    """A row of its own for each, for a project may have very many."""

    id: int = 0
    project_id: int = 0
    exit_code: int | None = None
    exit_message: str | None = None
    created_at: datetime | None = None


def finished_build_key(recorded: RecordedEvent[Any]) -> str | None:
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
)


@dataclass(frozen=True, slots=True)
class BuildActivity:
    available_steps: tuple[str, ...] = ()
    builds_id: tuple[int, ...] = ()  # the newest finished ones, ascending
    last_build: LastBuild = field(default_factory=LastBuild)


async def load_build_activity(ctx: Context, project_ids: Sequence[int], max_build_ids: int) -> dict[int, BuildActivity]:
    """All of them; a project without builds has the empty one."""
    wanted = {"project_id": {"$in": list(project_ids)}}
    steps = {row.project_id: row.available_steps for row in await ctx.read_model("project_steps").find(wanted)}
    builds: dict[int, tuple[int, ...]] = {}
    for start in range(0, len(project_ids), MAX_CONCURRENT_QUERIES):
        chunk = project_ids[start : start + MAX_CONCURRENT_QUERIES]
        builds |= zip(
            chunk, await asyncio.gather(*(_load_newest_ids(ctx, id_, max_build_ids) for id_ in chunk)), strict=True
        )
    last = await load_last_builds(ctx, project_ids)
    return {id_: BuildActivity(steps.get(id_, ()), builds[id_], last.get(id_, LastBuild())) for id_ in project_ids}


async def _load_newest_ids(ctx: Context, project_id: int, limit: int) -> tuple[int, ...]:
    """Ids of the newest finished builds, ascending."""
    rows = ctx.read_model("project_builds")
    ids = await rows.find_values({"project_id": project_id}, "id", order=[("project_id", 1), ("id", -1)], limit=limit)
    return tuple(id_ for (id_,) in reversed(ids))


async def load_last_builds(ctx: Context, project_ids: Sequence[int]) -> dict[int, LastBuild]:
    """Builds may end in another order than they were queued: the one with the highest id counts."""
    rows = await ctx.read_model("project_builds").latest_per(
        "project_id", "id", {"project_id": {"$in": list(project_ids)}}
    )
    return {
        row.project_id: LastBuild(exit_code=row.exit_code, exit_message=row.exit_message, created_at=row.created_at)
        for row in rows
    }
