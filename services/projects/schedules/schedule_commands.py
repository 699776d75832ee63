"""Preparation of the commands of schedules."""

from collections.abc import Sequence

from contracts.errors import RequestRejected
from contracts.projects import ChangeSchedule, CreateSchedule, ScheduleVariable
from libs.launches.variable_rules import check_variables, secret_name_rejection
from libs.service.declaration import Context
from services.projects.domain.internal_commands import AddSchedule
from services.projects.domain.schedules.schedule import validate_settings
from services.projects.projections import SecretRow
from services.projects.queries import require_project
from services.projects.schedules.schedule_projection import ScheduleRow

MAX_SCHEDULES = 20  # schedules per project; concurrent requests may exceed the limit


async def prepare_schedule(ctx: Context, command: CreateSchedule) -> AddSchedule:
    """Check the references and the limit of a new schedule, and allocate its id."""
    validate_settings(command)  # clients expect errors of single fields before errors of references
    await require_project(ctx, command.project_id)
    await reject_secret_names(ctx, command.project_id, command.variables or ())
    if await ctx.read_model(ScheduleRow).count({"project_id": command.project_id}) >= MAX_SCHEDULES:
        raise RequestRejected("SCHEDULE_LIMIT")
    return AddSchedule(**dict(command), schedule_id=await ctx.next_id("schedule"))


async def prepare_schedule_change(ctx: Context, command: ChangeSchedule) -> ChangeSchedule:
    """Return the command. Raises RequestRejected if the project does not exist or a variable is not allowed."""
    await require_project(ctx, command.project_id)
    check_variables(command.variables or ())
    await reject_secret_names(ctx, command.project_id, command.variables or ())
    return command


async def reject_secret_names(ctx: Context, project_id: int, variables: Sequence[ScheduleVariable]) -> None:
    """Raise RequestRejected if a variable has the name of a secret of the project or of a global secret."""
    if not variables:
        return
    condition = {
        "name": {"$in": [variable.name for variable in variables]},
        "$or": [{"projects_id": project_id}, {"scope": "PUBLIC"}],
    }
    if secret := await ctx.read_model(SecretRow).find_one(condition):
        raise secret_name_rejection(secret.name)
