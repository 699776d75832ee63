"""What follows: silence leads to offline; with a project or a company its token and its runners go."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from contracts.errors import Refused
from contracts.identity import CompanyDeleted
from contracts.projects import ProjectDeleted
from contracts.runners import DeleteRunner, MarkRunnerOffline, RunnerRow, WithdrawRegistrationToken
from libs.deciding import Recorded
from libs.service import Context, Worker
from services.runners.domain import owner
from services.runners.views import Sighting


def on_silence(
    online: Sequence[RunnerRow], seen: Mapping[str, Sighting], now: datetime, patience: timedelta
) -> Sequence[MarkRunnerOffline]:
    """Who counts as online and was not seen for longer than the patience is offline."""
    present = {uuid for uuid, sighting in seen.items() if now - sighting.seen_at <= patience}
    return [MarkRunnerOffline(runner_uuid=row.uuid) for row in online if row.uuid not in present]


async def leave_project(ctx: Context, recorded: Recorded[ProjectDeleted]) -> None:
    await dissolve(ctx, f"project-{recorded.event.project_id}")


async def leave_company(ctx: Context, recorded: Recorded[CompanyDeleted]) -> None:
    await dissolve(ctx, f"company-{recorded.event.company_id}")


async def dissolve(ctx: Context, scope: str) -> None:
    """First the token, so that no runner comes after those that are found."""
    await ctx.tell(WithdrawRegistrationToken(scope=scope))
    owner_type, owner_id = owner(scope)
    async for row in ctx.rows("runner").walk({"owner_type": owner_type, "owner_id": owner_id}):
        await dismiss(ctx, row.uuid)


async def dismiss(ctx: Context, runner_uuid: str) -> None:
    """Unless somebody else has deleted it in this very moment."""
    try:
        await ctx.tell(DeleteRunner(runner_uuid=runner_uuid), step=runner_uuid)
    except Refused as refused:
        if refused.code != "RUNNER_NOT_FOUND":
            raise


workers = (
    Worker("leave_project", "projects", (ProjectDeleted,), leave_project),
    Worker("leave_company", "identity", (CompanyDeleted,), leave_company),
)
