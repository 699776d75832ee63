"""Projects: what their commands need before they are decided, and the answers about them."""

import secrets
from collections.abc import Sequence
from typing import Any

from contracts.errors import Refused
from contracts.identity import CompanyView, GetCompany, GetOwner, ListUsers, Owner
from contracts.messages import Command, Done
from contracts.projects import (
    ChangeRepository,
    ChooseCredential,
    ChooseDeveloperProjects,
    ChooseDevelopers,
    ChooseExecutor,
    ChooseSecrets,
    CountProjects,
    CreateProject,
    DeleteProject,
    FindProject,
    GetLaunchSettings,
    GetProject,
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
)
from libs.deciding import Actor
from libs.service import Context
from libs.slugs import numbered, pattern, slug
from services.projects import activity
from services.projects.domain.project import created, known_executor, valid_alias
from services.projects.domain.repository import bare_repository, is_local, login_of
from services.projects.domain.text import unique
from services.projects.views import ProjectRow, launch_settings, project_view

ATTEMPTS = 10

# creating and changing


async def create(ctx: Context, command: CreateProject) -> Done:
    """An alias that nobody asked for gives way to one that was taken a moment earlier."""
    record = RecordProject.model_validate(dict(command))
    for _ in range(ATTEMPTS - 1):
        try:
            return await ctx.tell(record)  # what was refused is not recorded, so the same command may try again
        except Refused as refused:
            if refused.code != "PROJECT_ALIAS_TAKEN" or command.alias:
                raise
    return await ctx.tell(record)


async def before_recording(ctx: Context, command: RecordProject) -> RecordProject:
    created(command)  # what is wrong in itself is said before what does not fit to the rest
    refuse_local(ctx, command.repository)
    await check_references(ctx, command)
    owner = await owner_of(ctx, command.owner_alias) if command.owner_alias else creator(ctx)
    wanted = slug(command.name or "", "project")
    alias = valid_alias(command.alias) if command.alias else await free_alias(ctx, owner.alias, wanted)
    project_id = await ctx.next_id("project")
    return command.but(
        **owned_by(owner),
        alias=alias,
        project_id=project_id,
        sealed_signature_key=await sealed_key(ctx, project_id),
        **await without_login(ctx, project_id, command.repository),
    )


async def before_changing_repository(ctx: Context, command: ChangeRepository) -> ChangeRepository:
    """An address without a login takes the former login away: it was meant for the former address."""
    refuse_local(ctx, command.repository)
    await existing(ctx, command.project_id)  # sealing for a deleted one would make a key that nobody erases
    return command.but(**await without_login(ctx, command.project_id, command.repository))


async def without_login(ctx: Context, project_id: int, repository: str | None) -> dict[str, str]:
    """The address as everybody may read it, and beside it the login that it carried, sealed."""
    login = login_of(repository)
    sealed = await ctx.vault.seal(f"project-{project_id}", login) if login else ""
    return {"repository": bare_repository(repository), "sealed_login": sealed}


def refuse_local(ctx: Context, repository: str | None) -> None:
    if is_local((repository or "").strip()) and not ctx.settings.local_repositories:
        raise Refused("PROJECT_REPOSITORY_INVALID", "Local paths are not allowed on this server.")


async def check_references(
    ctx: Context, command: RecordProject | ChooseExecutor | ChooseCredential | ChooseDevelopers | ChooseSecrets
) -> Command:
    """Whatever the command refers to must exist, in the order in which clients expect the refusals."""
    if not isinstance(command, RecordProject):
        await existing(ctx, command.project_id)
    if isinstance(command, RecordProject | ChooseExecutor):
        await check(ctx, "executor", (known_executor(command.executor_id),))
    if isinstance(command, RecordProject | ChooseCredential) and command.credential_id is not None:
        await check(ctx, "credential", (command.credential_id,))
    if isinstance(command, RecordProject | ChooseDevelopers) and command.developers_id:
        await ctx.ask(ListUsers(user_ids=command.developers_id))
    if isinstance(command, RecordProject | ChooseSecrets):
        await check(ctx, "secret", command.secrets_id)
    return command


async def check(ctx: Context, category: str, ids: tuple[int, ...]) -> None:
    wanted = [f"{category}-{id_}" for id_ in set(ids)]
    if wanted and await ctx.rows(category).count({"_id": {"$in": wanted}}) < len(wanted):
        raise Refused(f"{category.upper()}_NOT_FOUND")


async def owner_of(ctx: Context, alias: str) -> Owner:
    try:
        return Owner.model_validate(await ctx.ask(GetOwner(alias=alias)))
    except Refused as refused:
        if refused.code == "DEVELOPER_NOT_FOUND":
            raise Refused("PROJECT_OWNER_INVALID") from refused
        raise


def creator(ctx: Context) -> Owner:
    return Owner(alias=ctx.cause.actor.name, kind="user", id=ctx.cause.actor.id)


def owned_by(owner: Owner) -> dict[str, Any]:
    """The owner as projects keep it: the name in the address, and who it is."""
    of_company = owner.kind == "company"
    return {
        "owner_alias": owner.alias,
        "owner_user_id": None if of_company else owner.id,
        "company_id": owner.id if of_company else None,
    }


async def free_alias(ctx: Context, owner: str, wanted: str) -> str:
    """The wanted alias, or the first free one with a number."""
    alike = ctx.rows("project").each({"owner_key": owner.lower(), "alias": {"$regex": pattern(wanted)}})
    return numbered(wanted, {row.alias async for row in alike})


async def before_moving(ctx: Context, command: MoveProject) -> MoveProject:
    row = await existing(ctx, command.project_id)
    alias = None if command.alias is None else valid_alias(command.alias)
    if not command.owner_alias:
        return command.but(owner_alias=None, alias=alias)
    owner = await owner_of(ctx, command.owner_alias)
    if alias is None and owner.alias.lower() != row.owner_key:
        alias = await free_alias(ctx, owner.alias, row.alias)
    return command.but(**owned_by(owner), alias=alias)


async def before_choosing_secrets(ctx: Context, command: ChooseSecrets) -> ChooseSecrets:
    await check_references(ctx, command)
    wanted = set(command.secrets_id)
    present = set(await secrets_of(ctx, command.project_id))
    return command.but(
        secrets_id=unique(command.secrets_id),
        attached=tuple(sorted(wanted - present)),
        detached=tuple(sorted(present - wanted)),
    )


async def before_choosing_memberships(ctx: Context, command: ChooseDeveloperProjects) -> ChooseDeveloperProjects:
    await check(ctx, "project", command.projects_id)
    wanted = set(command.projects_id)
    present = {row.id async for row in ctx.rows("project").each({"developers_id": command.developer_id})}
    return command.but(
        projects_id=unique(command.projects_id),
        joined=tuple(sorted(wanted - present)),
        left=tuple(sorted(present - wanted)),
    )


async def before_renewing_key(ctx: Context, command: RenewSignatureKey) -> RenewSignatureKey:
    await existing(ctx, command.project_id)  # sealing for a deleted one would make a key that nobody erases
    return command.but(sealed_signature_key=await sealed_key(ctx, command.project_id))


async def sealed_key(ctx: Context, project_id: int) -> str:
    return await ctx.vault.seal(f"project-{project_id}", secrets.token_hex(16))


async def before_deleting(ctx: Context, command: DeleteProject) -> DeleteProject:
    return command.but(secrets_id=await secrets_of(ctx, command.project_id))


async def secrets_of(ctx: Context, project_id: int) -> tuple[int, ...]:
    rows = ctx.rows("secret")
    return tuple([row.id async for row in rows.each({"projects_id": project_id}, [("id", 1)])])


# answers


async def get(ctx: Context, query: GetProject) -> ProjectView:
    return (await views(ctx, [await existing(ctx, query.project_id)], reveal=query.reveal))[0]


async def find(ctx: Context, query: FindProject) -> ProjectView:
    row = await ctx.rows("project").one({"owner_key": query.owner_alias.lower(), "alias": query.alias.lower()})
    if row is None:
        raise Refused("PROJECT_NOT_FOUND")
    return (await views(ctx, [row], reveal=False))[0]


async def list_all(ctx: Context, query: ListProjects) -> Projects:
    rows = await ctx.rows("project").find({}, [("id", 1)])
    listed = await views(ctx, rows, reveal=query.reveal, max_build_ids=activity.MAX_BUILD_IDS_IN_LIST)
    return Projects(projects=tuple(listed))


async def count(ctx: Context, query: CountProjects) -> ProjectCount:
    return ProjectCount(count=await ctx.rows("project").count({"company_id": query.company_id}))


async def list_memberships(ctx: Context, query: ListMemberships) -> Memberships:
    projects: dict[int, tuple[int, ...]] = {}
    async for row in ctx.rows("project").each({"developers_id": {"$in": query.developers_id}}, [("id", 1)]):
        for developer_id in row.developers_id:
            projects[developer_id] = (*projects.get(developer_id, ()), row.id)
    return Memberships(projects_id=projects)


async def get_launch_settings(ctx: Context, query: GetLaunchSettings) -> LaunchSettings:
    row = await existing(ctx, query.project_id)
    return launch_settings(row, allowed=may_launch(row, ctx.cause.actor, await members_of(ctx, row.company_id)))


def may_launch(row: ProjectRow, user: Actor, members_id: Sequence[int]) -> bool:
    """The one place that says who launches builds, whether by hand or by a push."""
    return user.is_admin or user.id in row.developers_id or user.id in members_id


async def members_of(ctx: Context, company_id: int | None) -> Sequence[int]:
    """Of the company that owns a project; nobody where it is no company's."""
    if company_id is None:
        return ()
    try:
        return CompanyView.model_validate(await ctx.ask(GetCompany(company_id=company_id))).members_id
    except Refused as refused:
        if refused.code != "COMPANY_NOT_FOUND":
            raise
        return ()


async def existing(ctx: Context, project_id: int) -> ProjectRow:
    row: ProjectRow | None = await ctx.rows("project").get(f"project-{project_id}")
    if row is None:
        raise Refused("PROJECT_NOT_FOUND")
    return row


async def views(
    ctx: Context, rows: list[ProjectRow], *, reveal: bool, max_build_ids: int | None = None
) -> list[ProjectView]:
    ids = [row.id for row in rows]
    secrets_id: dict[int, list[int]] = {id_: [] for id_ in ids}
    async for secret in ctx.rows("secret").each({"projects_id": {"$in": ids}}, [("id", 1)]):
        for project_id in secret.projects_id:
            secrets_id.get(project_id, []).append(secret.id)
    activities = await activity.activities_of(ctx, ids, max_build_ids or activity.MAX_BUILD_IDS)
    sealed = {f"project-{row.id}": row.sealed_signature_key for row in rows} if reveal else {}
    keys = await ctx.vault.open_all(sealed)
    return [
        project_view(
            row,
            activities[row.id],
            tuple(secrets_id[row.id]),
            keys.get(f"project-{row.id}"),
        )
        for row in rows
    ]
