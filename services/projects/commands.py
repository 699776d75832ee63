"""Projects: what their commands need before they are decided, and the answers about them."""

import secrets
from collections.abc import Sequence
from typing import Any

from contracts.errors import RequestRejected
from contracts.identity import CompanyView, GetCompany, GetOwner, ListUsers, Owner
from contracts.messages import Command, CommandReply
from contracts.projects import (
    ChangeRepository,
    CreateProject,
    DeleteProject,
    GetLaunchSettings,
    GetProject,
    GetProjectByAlias,
    GetProjectCount,
    LaunchSettings,
    ListMemberships,
    ListProjects,
    Memberships,
    MoveProject,
    ProjectCount,
    Projects,
    ProjectView,
    RecordProject,
    RenewSignatureKey,
    SetDeveloperProjects,
    SetProjectCredential,
    SetProjectDevelopers,
    SetProjectExecutor,
    SetProjectSecrets,
)
from libs.eventstore.decider import Actor
from libs.service.declaration import Context
from libs.slugs import find_free_slug, make_slug, slug_family_regex
from services.projects import build_activity
from services.projects.domain.project import make_creation_events, require_executor_id, validate_alias
from services.projects.domain.repository import extract_login, is_local_path, strip_login
from services.projects.domain.validation import sort_unique
from services.projects.projections import ProjectRow, to_launch_settings, to_project_view

MAX_ALIAS_ATTEMPTS = 10

# creating and changing


async def create_project(ctx: Context, command: CreateProject) -> CommandReply:
    """An alias that nobody asked for gives way to one that was taken a moment earlier."""
    record = RecordProject.model_validate(dict(command))
    for _ in range(MAX_ALIAS_ATTEMPTS - 1):
        try:
            return await ctx.send(record)  # what was refused is not recorded, so the same command may try again
        except RequestRejected as refused:
            if refused.code != "PROJECT_ALIAS_TAKEN" or command.alias:
                raise
    return await ctx.send(record)


async def prepare_project(ctx: Context, command: RecordProject) -> RecordProject:
    make_creation_events(command)  # what is wrong in itself is said before what does not fit to the rest
    refuse_local_repository(ctx, command.repository)
    await require_references(ctx, command)
    owner = await resolve_owner(ctx, command.owner_alias) if command.owner_alias else owner_from_actor(ctx)
    wanted = make_slug(command.name or "", "project")
    alias = validate_alias(command.alias) if command.alias else await find_free_alias(ctx, owner.alias, wanted)
    project_id = await ctx.next_id("project")
    return command.replace(
        **owner_fields(owner),
        alias=alias,
        project_id=project_id,
        sealed_signature_key=await generate_signature_key(ctx, project_id),
        **await split_login(ctx, project_id, command.repository),
    )


async def prepare_repository_change(ctx: Context, command: ChangeRepository) -> ChangeRepository:
    """An address without a login takes the former login away: it was meant for the former address."""
    refuse_local_repository(ctx, command.repository)
    await require_project(ctx, command.project_id)  # sealing for a deleted one would make a key that nobody erases
    return command.replace(**await split_login(ctx, command.project_id, command.repository))


async def split_login(ctx: Context, project_id: int, repository: str | None) -> dict[str, str]:
    """The address as everybody may read it, and beside it the login that it carried, sealed."""
    login = extract_login(repository)
    sealed = await ctx.vault.encrypt(f"project-{project_id}", login) if login else ""
    return {"repository": strip_login(repository), "sealed_login": sealed}


def refuse_local_repository(ctx: Context, repository: str | None) -> None:
    if is_local_path((repository or "").strip()) and not ctx.settings.local_repositories:
        raise RequestRejected("PROJECT_REPOSITORY_INVALID", "Local paths are not allowed on this server.")


async def require_references(
    ctx: Context,
    command: RecordProject | SetProjectExecutor | SetProjectCredential | SetProjectDevelopers | SetProjectSecrets,
) -> Command:
    """Whatever the command refers to must exist, in the order in which clients expect the refusals."""
    if not isinstance(command, RecordProject):
        await require_project(ctx, command.project_id)
    if isinstance(command, RecordProject | SetProjectExecutor):
        await require_all(ctx, "executor", (require_executor_id(command.executor_id),))
    if isinstance(command, RecordProject | SetProjectCredential) and command.credential_id is not None:
        await require_all(ctx, "credential", (command.credential_id,))
    if isinstance(command, RecordProject | SetProjectDevelopers) and command.developers_id:
        await ctx.query(ListUsers(user_ids=command.developers_id))
    if isinstance(command, RecordProject | SetProjectSecrets):
        await require_all(ctx, "secret", command.secrets_id)
    return command


async def require_all(ctx: Context, category: str, ids: tuple[int, ...]) -> None:
    wanted = [f"{category}-{id_}" for id_ in set(ids)]
    if wanted and await ctx.read_model(category).count({"_id": {"$in": wanted}}) < len(wanted):
        raise RequestRejected(f"{category.upper()}_NOT_FOUND")


async def resolve_owner(ctx: Context, alias: str) -> Owner:
    try:
        return Owner.model_validate(await ctx.query(GetOwner(alias=alias)))
    except RequestRejected as refused:
        if refused.code == "DEVELOPER_NOT_FOUND":
            raise RequestRejected("PROJECT_OWNER_INVALID") from refused
        raise


def owner_from_actor(ctx: Context) -> Owner:
    return Owner(alias=ctx.metadata.actor.name, kind="user", id=ctx.metadata.actor.id)


def owner_fields(owner: Owner) -> dict[str, Any]:
    """The owner as projects keep it: the name in the address, and who it is."""
    of_company = owner.kind == "company"
    return {
        "owner_alias": owner.alias,
        "owner_user_id": None if of_company else owner.id,
        "company_id": owner.id if of_company else None,
    }


async def find_free_alias(ctx: Context, owner: str, wanted: str) -> str:
    """The wanted alias, or the first free one with a number."""
    alike = ctx.read_model("project").iterate(
        {"owner_key": owner.lower(), "alias": {"$regex": slug_family_regex(wanted)}}
    )
    return find_free_slug(wanted, {row.alias async for row in alike})


async def prepare_move(ctx: Context, command: MoveProject) -> MoveProject:
    row = await require_project(ctx, command.project_id)
    alias = None if command.alias is None else validate_alias(command.alias)
    if not command.owner_alias:
        return command.replace(owner_alias=None, alias=alias)
    owner = await resolve_owner(ctx, command.owner_alias)
    if alias is None and owner.alias.lower() != row.owner_key:
        alias = await find_free_alias(ctx, owner.alias, row.alias)
    return command.replace(**owner_fields(owner), alias=alias)


async def prepare_secret_selection(ctx: Context, command: SetProjectSecrets) -> SetProjectSecrets:
    await require_references(ctx, command)
    wanted = set(command.secrets_id)
    present = set(await list_secret_ids(ctx, command.project_id))
    return command.replace(
        secrets_id=sort_unique(command.secrets_id),
        attached=tuple(sorted(wanted - present)),
        detached=tuple(sorted(present - wanted)),
    )


async def prepare_membership_selection(ctx: Context, command: SetDeveloperProjects) -> SetDeveloperProjects:
    await require_all(ctx, "project", command.projects_id)
    wanted = set(command.projects_id)
    present = {row.id async for row in ctx.read_model("project").iterate({"developers_id": command.developer_id})}
    return command.replace(
        projects_id=sort_unique(command.projects_id),
        joined=tuple(sorted(wanted - present)),
        left=tuple(sorted(present - wanted)),
    )


async def prepare_signature_key_renewal(ctx: Context, command: RenewSignatureKey) -> RenewSignatureKey:
    await require_project(ctx, command.project_id)  # sealing for a deleted one would make a key that nobody erases
    return command.replace(sealed_signature_key=await generate_signature_key(ctx, command.project_id))


async def generate_signature_key(ctx: Context, project_id: int) -> str:
    return await ctx.vault.encrypt(f"project-{project_id}", secrets.token_hex(16))


async def prepare_project_deletion(ctx: Context, command: DeleteProject) -> DeleteProject:
    return command.replace(secrets_id=await list_secret_ids(ctx, command.project_id))


async def list_secret_ids(ctx: Context, project_id: int) -> tuple[int, ...]:
    rows = ctx.read_model("secret")
    return tuple([row.id async for row in rows.iterate({"projects_id": project_id}, [("id", 1)])])


# answers


async def get_project(ctx: Context, query: GetProject) -> ProjectView:
    return (await load_project_views(ctx, [await require_project(ctx, query.project_id)], reveal=query.reveal))[0]


async def find_project(ctx: Context, query: GetProjectByAlias) -> ProjectView:
    row = await ctx.read_model("project").find_one(
        {"owner_key": query.owner_alias.lower(), "alias": query.alias.lower()}
    )
    if row is None:
        raise RequestRejected("PROJECT_NOT_FOUND")
    return (await load_project_views(ctx, [row], reveal=False))[0]


async def list_projects(ctx: Context, query: ListProjects) -> Projects:
    rows = await ctx.read_model("project").find({}, [("id", 1)])
    listed = await load_project_views(
        ctx, rows, reveal=query.reveal, max_build_ids=build_activity.MAX_BUILD_IDS_IN_LIST
    )
    return Projects(projects=tuple(listed))


async def count_projects(ctx: Context, query: GetProjectCount) -> ProjectCount:
    return ProjectCount(count=await ctx.read_model("project").count({"company_id": query.company_id}))


async def list_memberships(ctx: Context, query: ListMemberships) -> Memberships:
    projects: dict[int, tuple[int, ...]] = {}
    async for row in ctx.read_model("project").iterate({"developers_id": {"$in": query.developers_id}}, [("id", 1)]):
        for developer_id in row.developers_id:
            projects[developer_id] = (*projects.get(developer_id, ()), row.id)
    return Memberships(projects_id=projects)


async def get_launch_settings(ctx: Context, query: GetLaunchSettings) -> LaunchSettings:
    row = await require_project(ctx, query.project_id)
    return to_launch_settings(
        row, allowed=may_launch(row, ctx.metadata.actor, await fetch_company_members(ctx, row.company_id))
    )


def may_launch(row: ProjectRow, user: Actor, members_id: Sequence[int]) -> bool:
    """The one place that says who launches builds, whether by hand or by a push."""
    return user.is_admin or user.id in row.developers_id or user.id in members_id


async def fetch_company_members(ctx: Context, company_id: int | None) -> Sequence[int]:
    """Of the company that owns a project; nobody where it is no company's."""
    if company_id is None:
        return ()
    try:
        return CompanyView.model_validate(await ctx.query(GetCompany(company_id=company_id))).members_id
    except RequestRejected as refused:
        if refused.code != "COMPANY_NOT_FOUND":
            raise
        return ()


async def require_project(ctx: Context, project_id: int) -> ProjectRow:
    row: ProjectRow | None = await ctx.read_model("project").get(f"project-{project_id}")
    if row is None:
        raise RequestRejected("PROJECT_NOT_FOUND")
    return row


async def load_project_views(
    ctx: Context, rows: list[ProjectRow], *, reveal: bool, max_build_ids: int | None = None
) -> list[ProjectView]:
    ids = [row.id for row in rows]
    secrets_id: dict[int, list[int]] = {id_: [] for id_ in ids}
    async for secret in ctx.read_model("secret").iterate({"projects_id": {"$in": ids}}, [("id", 1)]):
        for project_id in secret.projects_id:
            secrets_id.get(project_id, []).append(secret.id)
    activities = await build_activity.load_build_activity(ctx, ids, max_build_ids or build_activity.MAX_BUILD_IDS)
    sealed = {f"project-{row.id}": row.sealed_signature_key for row in rows} if reveal else {}
    keys = await ctx.vault.decrypt_many(sealed)
    return [
        to_project_view(
            row,
            activities[row.id],
            tuple(secrets_id[row.id]),
            keys.get(f"project-{row.id}"),
        )
        for row in rows
    ]
