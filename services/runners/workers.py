"""Workers that delete the runners of deleted projects and companies."""

from contracts.errors import RequestRejected
from contracts.identity import CompanyDeleted
from contracts.projects import ProjectDeleted
from contracts.runners import DeleteRunner, RunnerRow
from libs.eventstore.decider import RecordedEvent
from libs.service.declaration import Context, Worker
from services.runners.domain.internal_commands import WithdrawRegistrationToken
from services.runners.domain.registration import parse_scope


async def delete_project_runners(ctx: Context, recorded: RecordedEvent[ProjectDeleted]) -> None:
    await delete_scope(ctx, f"project-{recorded.event.project_id}")


async def delete_company_runners(ctx: Context, recorded: RecordedEvent[CompanyDeleted]) -> None:
    await delete_scope(ctx, f"company-{recorded.event.company_id}")


async def delete_scope(ctx: Context, scope: str) -> None:
    """Withdraw the registration token of a scope, then delete its runners, so that no runner is added in between."""
    await ctx.send(WithdrawRegistrationToken(scope=scope))
    owner_type, owner_id = parse_scope(scope)
    async for row in ctx.read_model(RunnerRow).walk({"owner_type": owner_type, "owner_id": owner_id}):
        await delete_runner(ctx, row.uuid)


async def delete_runner(ctx: Context, runner_uuid: str) -> None:
    """Delete a runner. Ignore a runner that is deleted already."""
    try:
        await ctx.send(DeleteRunner(runner_uuid=runner_uuid), step=runner_uuid)
    except RequestRejected as rejected:
        if rejected.code != "RUNNER_NOT_FOUND":
            raise


WORKERS = (
    Worker("leave_project", "projects", (ProjectDeleted,), delete_project_runners),
    Worker("leave_company", "identity", (CompanyDeleted,), delete_company_runners),
)
