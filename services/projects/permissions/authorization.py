"""Authorization rules of the service's messages. Users without ROLE_ADMIN cannot send a message that has no rule."""

from collections.abc import Awaitable, Callable
from typing import Any

from contracts import projects as contract
from contracts.errors import RequestRejected
from contracts.projects import ProjectAction
from libs.permissions.authorization import AccessRule, Authorization, allow_all, require_administrator
from libs.service.declaration import Context
from services.projects.permissions.access import may, require_project_action
from services.projects.projections import ProjectRow, SecretRow
from services.projects.schedules.schedule_projection import ScheduleRow
from services.projects.webhooks.delivery_queries import find_delivery


def of_project(action: ProjectAction) -> AccessRule:
    """Return the rule for messages with a `project_id`. It allows an unknown id, which the handler then rejects."""

    async def check(ctx: Context, message: Any) -> None:
        if project := await find_project(ctx, message.project_id):
            await require_project_action(ctx, project, action)

    return check


async def find_project(ctx: Context, project_id: int) -> ProjectRow | None:
    return await ctx.read_model(ProjectRow).get(f"project-{project_id}")


async def check_project_query(ctx: Context, query: contract.GetProject) -> None:
    await (MAINTAIN if query.reveal else READ)(ctx, query)


async def check_reveal(ctx: Context, query: Any) -> None:
    """Require an administrator if the query reveals signature keys or the values of variables."""
    if query.reveal:
        await require_administrator(ctx, query)


async def check_path(ctx: Context, query: contract.GetProjectByAlias) -> None:
    path = {"owner_key": query.owner_alias.lower(), "alias": query.alias.lower()}
    await require_project_action(ctx, await ctx.read_model(ProjectRow).find_one(path), query.action)


async def check_delivery(ctx: Context, query: contract.GetDelivery) -> None:
    if row := await find_delivery(ctx, query.delivery_id):
        project = await find_project(ctx, row.project_id)
        await require_project_action(ctx, project, ProjectAction.MAINTAIN, "DELIVERY_NOT_FOUND")


async def check_schedule(ctx: Context, query: contract.GetSchedule) -> None:
    if row := await ctx.read_model(ScheduleRow).get(f"schedule-{query.schedule_id}"):
        project = await find_project(ctx, row.project_id)
        await require_project_action(ctx, project, ProjectAction.READ, "SCHEDULE_NOT_FOUND")


async def maintains_all(ctx: Context, projects_id: tuple[int, ...]) -> bool:
    """Return whether the actor maintains all of these projects. False without projects, as for a global secret."""
    projects = [await find_project(ctx, project_id) for project_id in projects_id]
    return bool(projects) and all([project and await may(ctx, project, ProjectAction.MAINTAIN) for project in projects])


async def is_visible(ctx: Context, secret: SecretRow) -> bool:
    """Return whether the actor may see the secret: it has no projects, or the actor may see one of them."""
    projects = [await find_project(ctx, project_id) for project_id in secret.projects_id]
    return not projects or any([project and await may(ctx, project, ProjectAction.READ) for project in projects])


def of_secret(rule: Callable[[Context, Any, SecretRow], Awaitable[None]]) -> AccessRule:
    """Return a rule for messages with a `secret_id`, which applies `rule` if the actor may see the secret.

    Otherwise it rejects with SECRET_NOT_FOUND. It allows an unknown id, which the handler then rejects.
    """

    async def check(ctx: Context, message: Any) -> None:
        secret = await ctx.read_model(SecretRow).get(f"secret-{message.secret_id}")
        if secret is None:
            return
        if not await is_visible(ctx, secret):
            raise RequestRejected("SECRET_NOT_FOUND")
        await rule(ctx, message, secret)

    return check


async def allow_reading(_ctx: Context, _message: Any, _secret: SecretRow) -> None:
    pass


async def require_maintenance(ctx: Context, message: Any, secret: SecretRow) -> None:
    """Require that the actor maintains all projects of the secret, before and after the change."""
    new = getattr(message, "projects_id", secret.projects_id)
    if not (await maintains_all(ctx, secret.projects_id) and await maintains_all(ctx, new)):
        await require_administrator(ctx, message)


async def check_new_secret(ctx: Context, command: contract.CreateSecret) -> None:
    if not await maintains_all(ctx, command.projects_id):
        await require_administrator(ctx, command)


async def check_attached_secrets(ctx: Context, command: contract.SetProjectSecrets) -> None:
    """Require that the actor maintains the project, and all projects of each secret that the command attaches to it."""
    await of_project(ProjectAction.MAINTAIN)(ctx, command)
    for secret_id in command.secrets_id:
        secret = await ctx.read_model(SecretRow).get(f"secret-{secret_id}")
        if secret and command.project_id not in secret.projects_id:
            if not await is_visible(ctx, secret):
                raise RequestRejected("SECRET_NOT_FOUND")
            if not await maintains_all(ctx, secret.projects_id):
                await require_administrator(ctx, command)


MAINTAIN = of_project(ProjectAction.MAINTAIN)
OWN = of_project(ProjectAction.OWN)
READ = of_project(ProjectAction.READ)
CHANGE_SECRET = of_secret(require_maintenance)

authorize = Authorization(
    {
        contract.GetProject: check_project_query,
        contract.GetProjectByAlias: check_path,
        contract.GetLaunchSettings: allow_all,  # checked by its handler, which loads the project anyway
        contract.ListProjectMembers: READ,
        contract.ListProjects: check_reveal,
        contract.ListProjectsPage: allow_all,
        contract.ListMemberships: allow_all,
        contract.ListHiddenProjects: allow_all,
        contract.GetProjectCount: allow_all,  # sent by identity before it deletes a company
        contract.RenameProject: MAINTAIN,
        contract.DescribeProject: MAINTAIN,
        contract.ChangeBranch: MAINTAIN,
        contract.ChangeSpecFilePath: MAINTAIN,
        contract.ChangeRetention: MAINTAIN,
        contract.ChangeRetentionLimits: MAINTAIN,
        contract.ChangeConcurrency: MAINTAIN,
        contract.ProtectBranches: MAINTAIN,
        contract.RenewSignatureKey: MAINTAIN,
        contract.ChangeVisibility: MAINTAIN,
        contract.ChangeBadges: MAINTAIN,
        contract.ChangeTriggers: MAINTAIN,
        contract.ListBadgeProjects: allow_all,  # lists only projects that publish badges
        contract.SetProjectMember: MAINTAIN,
        contract.RemoveProjectMember: MAINTAIN,
        contract.SetProjectDevelopers: MAINTAIN,
        contract.SetProjectSecrets: check_attached_secrets,
        contract.ChangeRepository: OWN,
        contract.ChangeForge: OWN,  # like the repository's URL, it determines the server to which the token is sent
        contract.MoveProject: OWN,
        contract.DeleteProject: OWN,
        # credentials and executors belong to the server, not to a project
        contract.SetProjectCredential: require_administrator,
        contract.SetProjectExecutor: require_administrator,
        contract.CreateProject: require_administrator,
        contract.SetDeveloperProjects: require_administrator,
        contract.GetSecret: of_secret(allow_reading),
        contract.ListSecrets: allow_all,
        contract.ListSecretsPage: allow_all,
        contract.CreateSecret: check_new_secret,
        contract.RenameSecret: CHANGE_SECRET,
        contract.ChangeSecretValue: CHANGE_SECRET,
        contract.SetSecretEnvironment: CHANGE_SECRET,
        contract.ChangeEscapedCharacters: CHANGE_SECRET,
        contract.SetSecretProjects: CHANGE_SECRET,
        contract.RevealSecret: require_administrator,
        contract.DeleteSecret: require_administrator,
        contract.GetCredential: allow_all,
        contract.ListCredentials: allow_all,
        contract.CreateCredential: require_administrator,
        contract.RenameCredential: require_administrator,
        contract.ChangeCredentialKey: require_administrator,
        contract.RevealCredential: require_administrator,
        contract.DeleteCredential: require_administrator,
        contract.GetExecutor: check_reveal,
        contract.ListExecutors: check_reveal,
        contract.CreateExecutor: require_administrator,
        contract.RenameExecutor: require_administrator,
        contract.ChangeExecutorVariables: require_administrator,
        contract.DeleteExecutor: require_administrator,
        contract.GetSchedule: check_schedule,
        contract.ListSchedules: READ,
        contract.GetUpcomingRuns: READ,
        contract.CreateSchedule: MAINTAIN,
        contract.ChangeSchedule: MAINTAIN,
        contract.DeleteSchedule: MAINTAIN,
        contract.RunSchedule: MAINTAIN,
        contract.GetDelivery: check_delivery,
        contract.ListDeliveries: MAINTAIN,
        contract.ApproveDelivery: MAINTAIN,
        # sent by services or the gateway without a user; webhooks are signed
        contract.ReceiveWebhook: allow_all,
        contract.RejectWebhook: allow_all,
        contract.GetDeliveryKey: allow_all,
        contract.GetWebhookPayload: allow_all,
        contract.GetJobSecrets: allow_all,
        contract.GetForge: allow_all,
    }
)
