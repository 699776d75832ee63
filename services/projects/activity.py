"""What happened to the builds of each project, followed from the builds."""

from datetime import datetime
from typing import Any

from contracts.builds import BuildFinished, BuildPlanned
from contracts.messages import Row
from contracts.projects import LastBuild
from libs.deciding import Recorded
from libs.service import FollowedView


class ActivityRow(Row):
    project_id: int = 0
    planned_id: int = 0  # the build that the steps are of
    available_steps: tuple[str, ...] = ()
    builds_id: tuple[int, ...] = ()  # finished, ascending
    last_id: int = 0
    exit_code: int | None = None
    exit_message: str | None = None
    created_at: datetime | None = None

    @property
    def last_build(self) -> LastBuild:
        return LastBuild(exit_code=self.exit_code, exit_message=self.exit_message, created_at=self.created_at)


def project_of(recorded: Recorded[Any]) -> str | None:
    match recorded.event:
        case BuildPlanned() | BuildFinished():
            return f"project-{recorded.event.project_id}"
        case _:
            return None


def note_build(row: ActivityRow, recorded: Recorded[Any]) -> ActivityRow:
    """Builds may end in another order than they were queued: the one with the highest id counts."""
    match recorded.event:
        case BuildPlanned(build_id=build_id) as planned if build_id >= row.planned_id:
            return row.but(project_id=planned.project_id, planned_id=build_id, available_steps=planned.available_steps)
        case BuildFinished(build_id=build_id, keep_number_build=keep) as finished:
            builds = sorted({*row.builds_id, build_id})
            kept = builds if keep is None else builds[max(len(builds) - keep, 0) :]
            row = row.but(project_id=finished.project_id, builds_id=tuple(kept))
            if build_id < row.last_id:
                return row
            return row.but(
                last_id=build_id,
                exit_code=finished.exit_code,
                exit_message=finished.exit_message,
                created_at=finished.queued_at,
            )
        case _:
            return row


project_activity = FollowedView(
    "project_activity", "builds", project_of, ActivityRow(), note_build, indexes=(("project_id",),)
)
