"""Plans of builds that are not launched: which jobs a branch would have, or why it has none."""

import re

from contracts.builds import (
    BuildRow,
    LaunchedProject,
    PlanError,
    PlannedJob,
    PlannedJobView,
    PlanProject,
    ProjectPlan,
)
from contracts.errors import RequestRejected
from contracts.projects import GetLaunchSettings, LaunchSettings
from libs.launches.variable_rules import check_variables
from libs.service.declaration import Context
from services.builds.dispatch.job_secrets import ProjectDeletedError
from services.builds.planning.git_mirror import NoSuchFile
from services.builds.planning.git_process import RepositoryUnreachable
from services.builds.planning.launch import MAX_JOB_ATTEMPTS, parse_branch
from services.builds.planning.launch_variables import authorize_variables
from services.builds.planning.local_refs import NoSuchRef
from services.builds.planning.planner import Planner
from services.builds.planning.spec import SpecInvalid, SpecUnreadable

MAX_CONCURRENT_PLANS = 4  # limit of this process, because each may fetch a repository
RETRY_AFTER_SECONDS = 2
PLACE = re.compile(r"(?:(?P<file>[^\s:]+): )?line (?P<line>\d+), column (?P<column>\d+)")


class DryPlanner:
    """Compiles spec files with the git mirrors of the planner."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._running = 0

    async def plan_project(self, ctx: Context, query: PlanProject) -> ProjectPlan:
        """Return the plan of the newest commit of a branch. Errors in the repository are part of the plan.

        Raises LAUNCH_BUILD_NOT_ALLOWED, PROJECT_NOT_FOUND, BUILD_REF_INVALID, TOO_MANY_REQUESTS, and codes that
        begin with BUILD_VARIABLES_.
        """
        check_variables(query.variables)
        settings = await ctx.query(GetLaunchSettings(project_id=query.project_id), LaunchSettings)
        if not settings.allowed:
            raise RequestRejected("LAUNCH_BUILD_NOT_ALLOWED")
        pinned_ref = parse_branch(query.ref) if query.ref else None
        await authorize_variables(ctx, settings, pinned_ref, query.variables)
        build = BuildRow(
            project_id=query.project_id,
            project=LaunchedProject.model_validate(settings.model_dump(include=set(LaunchedProject.model_fields))),
            pinned_ref=pinned_ref,
            variables=query.variables,
            initiator_id=ctx.metadata.actor.id,
            queued_at=ctx.metadata.at,
            timeout_seconds=ctx.settings.build_timeout_seconds,
            max_attempts=MAX_JOB_ATTEMPTS,
        )
        if self._running >= MAX_CONCURRENT_PLANS:
            raise RequestRejected(
                "TOO_MANY_REQUESTS",
                "Too many plans are being computed. Try again in a few seconds.",
                retry_after=RETRY_AFTER_SECONDS,
            )
        self._running += 1
        try:
            return await self._compile(ctx, build, settings.spec_file_path)
        finally:
            self._running -= 1

    async def _compile(self, ctx: Context, build: BuildRow, path: str) -> ProjectPlan:
        try:
            compiled = await self._planner.compile_build(ctx, build)
        except ProjectDeletedError:
            raise RequestRejected("PROJECT_NOT_FOUND") from None
        except RepositoryUnreachable as error:
            found = PlanError(code="REPOSITORY_UNREACHABLE", message=str(error))
        except NoSuchRef as error:
            found = PlanError(code="REF_NOT_FOUND", message=str(error))
        except NoSuchFile as error:
            found = PlanError(code="SPEC_NOT_FOUND", message=f"There is no file {error} in the commit.")
        except IsADirectoryError as error:
            found = PlanError(code="SPEC_UNREADABLE", message=f"{error} is not a plain file.")
        except SpecUnreadable as error:
            found = PlanError(code="SPEC_UNREADABLE", message=str(error))
        except SpecInvalid as error:
            found = _locate(str(error))
        else:
            return ProjectPlan(
                ref=compiled.resolved.ref,
                sha=compiled.resolved.sha,
                spec_file_path=path,
                jobs=tuple(map(_to_view, compiled.pipeline.jobs)),
                warnings=compiled.pipeline.warnings,
            )
        return ProjectPlan(ref=None, sha=None, spec_file_path=path, errors=(found,))


def _locate(message: str) -> PlanError:
    """Return the error of an invalid spec file, with the file, line and column that its message names."""
    place = PLACE.search(message)
    if place is None:
        return PlanError(code="SPEC_INVALID", message=message)
    return PlanError(
        code="SPEC_INVALID",
        message=message,
        file=place["file"] or "",
        line=int(place["line"]),
        column=int(place["column"]),
    )


def _to_view(job: PlannedJob) -> PlannedJobView:
    return PlannedJobView(
        name=job.name,
        stage=job.stage,
        when=job.when,
        allow_failure=job.allow_failure,
        needs=job.needs,
        tags=job.tags,
        image=job.container.name if job.container else job.image,
        steps=tuple(step.name for step in job.steps),
    )
