"""Limits for the data of a project's builds: for each limit the project's own or, if that is not set, the server's."""

from dataclasses import dataclass

from contracts.errors import RequestRejected
from contracts.projects import GetLaunchSettings, LaunchSettings
from libs.service.declaration import Context
from libs.settings import RetentionSettings


@dataclass(frozen=True)
class DataLimits:
    """How much is kept of one type of data. 0: no limit."""

    days: int = 0
    builds: int = 0

    def __str__(self) -> str:
        days = f"{self.days} days" if self.days else ""
        builds = f"{self.builds} builds" if self.builds else ""
        return " and ".join(filter(None, (days, builds)))


@dataclass(frozen=True)
class ProjectLimits:
    build_days: int
    build_count: int | None  # None: no limit
    logs: DataLimits
    artifacts: DataLimits


async def fetch_limits(ctx: Context, project_id: int) -> ProjectLimits | None:
    """Return the limits of a project, or None if it was deleted."""
    try:
        project = await ctx.query(GetLaunchSettings(project_id=project_id), LaunchSettings)
    except RequestRejected as rejected:
        if rejected.code != "PROJECT_NOT_FOUND":
            raise
        return None
    return combine_limits(project, ctx.settings.retention)


def combine_limits(project: LaunchSettings, server: RetentionSettings) -> ProjectLimits:
    count = project.keep_number_build
    return ProjectLimits(
        build_days=project.keep_build_days or server.build_days,
        build_count=count if count is not None else server.build_count or None,
        logs=DataLimits(project.keep_log_days or server.log_days, project.keep_number_log or server.log_count),
        artifacts=DataLimits(
            project.keep_artifact_days or server.artifact_days, project.keep_number_artifact or server.artifact_count
        ),
    )
