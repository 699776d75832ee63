"""What follows: silence leads to offline; with a project or a company its token and its runners go."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from contracts.errors import RequestRejected
from contracts.identity import CompanyDeleted
from contracts.projects import ProjectDeleted
from contracts.runners import DeleteRunner, MarkRunnerOffline, RunnerRow, WithdrawRegistrationToken
from libs.eventstore.decider import RecordedEvent
from libs.service.declaration import Context, Worker
from services.runners.domain.runner import parse_scope
from services.runners.projections import LastContact


def offline_commands(
    online: Sequence[RunnerRow], last_contacts: Mapping[str, LastContact], now: datetime, timeout: timedelta
) -> Sequence[MarkRunnerOffline]:
    """Who counts as online and was not seen for longer than the patience is offline."""
    present = {uuid for uuid, sighting in last_contacts.items() if now - sighting.seen_at <= timeout}
    return [MarkRunnerOffline(runner_uuid=row.uuid) for row in online if row.uuid not in present]


async def delete_project_runners(ctx: Context, recorded: RecordedEvent[ProjectDeleted]) -> None:
    await delete_scope(ctx, f"project-{recorded.event.project_id}")


async def delete_company_runners(ctx: Context, recorded: RecordedEvent[CompanyDeleted]) -> None:
    await delete_scope(ctx, f"company-{recorded.event.company_id}")


async def delete_scope(ctx: Context, scope: str) -> None:
    """First the token, so that no runner comes after those that are found."""
    await ctx.send(WithdrawRegistrationToken(scope=scope))
    owner_type, owner_id = parse_scope(scope)
    async for row in ctx.read_model("runner").walk({"owner_type": owner_type, "owner_id": owner_id}):
        await delete_runner(ctx, row.uuid)


async def delete_runner(ctx: Context, runner_uuid: str) -> None:
    """Unless somebody else has deleted it in this very moment."""
    try:
        await ctx.send(DeleteRunner(runner_uuid=runner_uuid), step=runner_uuid)
    except RequestRejected as refused:
        if refused.code != "RUNNER_NOT_FOUND":
            raise


WORKERS = (
    Worker("leave_project", "projects", (ProjectDeleted,), delete_project_runners),
    Worker("leave_company", "identity", (CompanyDeleted,), delete_company_runners),
)
