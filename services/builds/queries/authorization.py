"""Authorization rules of the service's messages. Only administrators may send a message without a rule."""

from typing import Any

from contracts import builds as contract
from contracts.errors import RequestRejected
from contracts.messages import ReadModelRow
from contracts.projects import ProjectAccess, ProjectAction
from libs.permissions.authorization import AccessRule, Authorization, allow_all, require_administrator
from libs.permissions.projections import CompanyMembersRow
from libs.service.declaration import Context
from services.builds.queries.project_access import find_access, require_project_action


class OwnedRow(ReadModelRow):
    """The project of a build or job. Nothing else of the row is loaded."""

    project_id: int


async def check_build(ctx: Context, build_id: int, action: ProjectAction) -> None:
    """Check that the actor may do `action` in the build's project. The handler rejects unknown builds.

    Raises BUILD_NOT_FOUND or FORBIDDEN.
    """
    if build := await ctx.read_model(contract.BuildRow).select(OwnedRow).get(f"build-{build_id}"):
        await require_project_action(ctx, build.project_id, action, "BUILD_NOT_FOUND")


async def check_executor(ctx: Context, executor_id: str, action: ProjectAction) -> None:
    if build := await ctx.read_model(contract.BuildRow).select(OwnedRow).find_one({"executor_id": executor_id}):
        await require_project_action(ctx, build.project_id, action, "EXECUTOR_NOT_FOUND")


async def check_job(ctx: Context, job_id: int, not_found: str = "JOB_NOT_FOUND") -> None:
    if job := await ctx.read_model(contract.JobRow).select(OwnedRow).get(f"job-{job_id}"):
        await require_project_action(ctx, job.project_id, ProjectAction.READ, not_found)


def of_build(action: ProjectAction) -> AccessRule:
    """Return the rule for messages that name a build by `build_id` or `executor_id`."""

    async def check(ctx: Context, message: Any) -> None:
        if build_id := getattr(message, "build_id", None):
            await check_build(ctx, build_id, action)
        elif executor_id := getattr(message, "executor_id", None):
            await check_executor(ctx, executor_id, action)

    return check


async def read_job(ctx: Context, message: contract.GetJob | contract.GetTrace | contract.GetLogLines) -> None:
    await check_job(ctx, message.job_id)


async def read_artifact(ctx: Context, query: contract.GetArtifactChunk) -> None:
    """Check that the actor may read the job of an artifact.

    Raises ARTIFACT_NOT_FOUND, also if the artifact does not exist.
    """
    upload = await ctx.collection("artifacts").find_one({"_id": query.artifact_id}, {"job_id": 1})
    if upload is None:
        raise RequestRejected("ARTIFACT_NOT_FOUND")
    await check_job(ctx, upload["job_id"], "ARTIFACT_NOT_FOUND")


async def read_files(ctx: Context, query: contract.ListJobFiles) -> None:
    not_found = "BUILD_NOT_FOUND" if query.job_local_id is None else "JOB_NOT_FOUND"
    await require_project_action(ctx, query.project_id, ProjectAction.READ, not_found)


async def read_project(ctx: Context, query: contract.ListProjectBuilds | contract.GetTestStatistics) -> None:
    await require_project_action(ctx, query.project_id, ProjectAction.READ, "PROJECT_NOT_FOUND")


async def read_statistics(ctx: Context, query: contract.GetBuildStatistics) -> None:
    if query.project_id is not None:
        await require_project_action(ctx, query.project_id, ProjectAction.READ, "PROJECT_NOT_FOUND")


async def get_project_access(ctx: Context, query: contract.GetProjectAccess) -> contract.ProjectAccessView:
    """Return who may see a project. A deleted project is included, because its events can still be read.

    Raises PROJECT_NOT_FOUND.
    """
    access = await find_access(ctx, query.project_id)
    if access is None:
        raise RequestRejected("PROJECT_NOT_FOUND")
    company = await ctx.read_model(CompanyMembersRow).get(f"company-{access.company_id}")
    members = company.members_id if company else ()
    fields = access.model_dump(include=set(ProjectAccess.model_fields))
    return contract.ProjectAccessView(**fields, company_members_id=members)


READ = of_build(ProjectAction.READ)

authorize = Authorization(
    {
        contract.GetBuild: READ,
        contract.ListBuildJobs: READ,
        contract.GetBuildOverview: READ,
        contract.GetPreviousResult: READ,
        contract.GetBuildCoverage: READ,
        contract.ListBuildTests: READ,
        contract.GetLiveLog: READ,
        contract.GetBuildOutput: READ,
        contract.GetLogSection: READ,
        contract.GetJob: read_job,
        contract.GetTrace: read_job,
        contract.GetLogLines: read_job,
        contract.GetArtifactChunk: read_artifact,
        contract.ListJobFiles: read_files,
        contract.ListProjectBuilds: read_project,
        contract.GetBuildStatistics: read_statistics,
        contract.GetTestStatistics: read_project,
        contract.ListBuilds: allow_all,
        contract.GetFleet: allow_all,
        contract.ListRecentBuilds: allow_all,
        contract.ListQueuedBuilds: allow_all,
        contract.ListRunningBuilds: allow_all,
        contract.ListBuildDurations: allow_all,
        contract.KillBuild: of_build(ProjectAction.CANCEL),
        contract.DeleteBuild: of_build(ProjectAction.MAINTAIN),
        contract.ChangeBuildPriority: require_administrator,
        contract.ListJobs: require_administrator,
        contract.GetProjectAccess: allow_all,  # never sent for a client
        # their handlers query the projects service, which knows whether the actor may launch builds
        contract.QueueBuild: allow_all,
        contract.PlanProject: allow_all,
        contract.PlayJob: allow_all,
        contract.RetryJob: allow_all,
        contract.CancelBuildJob: allow_all,
        contract.RetryBuild: allow_all,
        # requests of runners, whose tokens the gateway and the handlers check
        contract.ClaimJob: allow_all,
        contract.ReturnClaim: allow_all,
        contract.AppendTrace: allow_all,
        contract.ReportJob: allow_all,
        contract.StartArtifactUpload: allow_all,
        contract.AppendArtifactUpload: allow_all,
        contract.FinishArtifactUpload: allow_all,
        contract.DiscardArtifactUpload: allow_all,
        contract.GetArtifact: allow_all,
    }
)
