"""Command preparation for projects: look-ups and checks, ids, encryption, and generated aliases and keys."""

import secrets

from contracts.errors import RequestRejected
from contracts.identity import GetOwner, ListUsers, Owner, Users
from contracts.messages import Payload
from contracts.projects import (
    ChangeRepository,
    CreateProject,
    DeleteProject,
    MoveProject,
    RenewSignatureKey,
    SetDeveloperProjects,
    SetProjectCredential,
    SetProjectDevelopers,
    SetProjectExecutor,
    SetProjectMember,
    SetProjectSecrets,
    Visibility,
)
from libs.normalization import sort_unique
from libs.service.declaration import Context
from libs.slugs import find_free_slug, make_slug, slug_family_regex
from services.projects.domain.internal_commands import (
    AddProject,
    RemoveProject,
    SelectProjects,
    SelectSecrets,
    SetProjectPath,
    SetRepository,
    SetSignatureKey,
)
from services.projects.domain.project import validate_new_project
from services.projects.domain.repository import extract_login, is_local_path, strip_login
from services.projects.domain.validation import require_executor_id, validate_alias
from services.projects.projections import CredentialRow, ExecutorRow, ProjectRow, SecretRow
from services.projects.queries import list_secret_ids, require_all, require_project


def has_lost_alias(command: CreateProject, code: str) -> bool:
    """Return whether the generated alias was taken concurrently, so that another one has to be generated."""
    return code == "PROJECT_ALIAS_TAKEN" and not command.alias


async def prepare_project(ctx: Context, command: CreateProject) -> AddProject:
    """Allocate the id of a new project, find its owner and path, and generate its signature key."""
    validate_new_project(command)  # clients expect errors of single fields before errors of references
    reject_local_repository(ctx, command.repository)
    await require_references(ctx, command)
    owner = await resolve_owner(ctx, command.owner_alias) if command.owner_alias else owner_from_actor(ctx)
    default_alias = make_slug(command.name or "", "project")
    alias = validate_alias(command.alias) if command.alias else await find_free_alias(ctx, owner.alias, default_alias)
    project_id = await ctx.next_id("project")
    settings = {
        **dict(command),
        **owner_fields(owner),
        **await split_login(ctx, project_id, command.repository),
        "alias": alias,
        "visibility": command.visibility or Visibility(ctx.settings.default_visibility),
    }
    sealed_key = await generate_signature_key(ctx, project_id)
    return AddProject(**settings, project_id=project_id, sealed_signature_key=sealed_key)


async def prepare_repository_change(ctx: Context, command: ChangeRepository) -> SetRepository:
    """Return the command with the login separated from the URL and encrypted.

    A URL without a login removes the stored login, which belonged to the former URL.
    """
    reject_local_repository(ctx, command.repository)
    # encrypting for a deleted project would create a key that is never deleted
    await require_project(ctx, command.project_id)
    return SetRepository(
        project_id=command.project_id, **await split_login(ctx, command.project_id, command.repository)
    )


async def split_login(ctx: Context, project_id: int, repository: str | None) -> Payload:
    """Return the fields of a repository: its URL without the login, and the encrypted login."""
    login = extract_login(repository)
    sealed = await ctx.vault.encrypt(f"project-{project_id}", login) if login else ""
    return {"repository": strip_login(repository), "sealed_login": sealed}


def reject_local_repository(ctx: Context, repository: str | None) -> None:
    if is_local_path((repository or "").strip()) and not ctx.settings.local_repositories:
        raise RequestRejected("PROJECT_REPOSITORY_INVALID", "Local paths are not allowed on this server.")


ReferenceChange = SetProjectExecutor | SetProjectCredential | SetProjectDevelopers


async def prepare_reference_change(ctx: Context, command: ReferenceChange) -> ReferenceChange:
    """Return the command. Raises RequestRejected as `require_references` documents."""
    await require_references(ctx, command)
    return command


async def prepare_member(ctx: Context, command: SetProjectMember) -> SetProjectMember:
    """Return the command. Raises RequestRejected if the project or the user does not exist."""
    await require_project(ctx, command.project_id)
    await ctx.query(ListUsers(user_ids=(command.user_id,)), Users)
    return command


async def require_references(ctx: Context, command: CreateProject | SetProjectSecrets | ReferenceChange) -> None:
    """Raise RequestRejected if something that the command refers to does not exist.

    The codes are PROJECT_, EXECUTOR_, CREDENTIAL_, DEVELOPER_ and SECRET_NOT_FOUND, in the order in which clients
    expect the errors.
    """
    if not isinstance(command, CreateProject):
        await require_project(ctx, command.project_id)
    if isinstance(command, CreateProject | SetProjectExecutor):
        await require_all(ctx, ExecutorRow, "executor", (require_executor_id(command.executor_id),))
    if isinstance(command, CreateProject | SetProjectCredential) and command.credential_id is not None:
        await require_all(ctx, CredentialRow, "credential", (command.credential_id,))
    if isinstance(command, CreateProject | SetProjectDevelopers) and command.developers_id:
        await ctx.query(ListUsers(user_ids=command.developers_id), Users)
    if isinstance(command, CreateProject | SetProjectSecrets):
        await require_all(ctx, SecretRow, "secret", command.secrets_id)


async def resolve_owner(ctx: Context, alias: str) -> Owner:
    """Return the user or company with this name. Raises RequestRejected with PROJECT_OWNER_INVALID."""
    try:
        return await ctx.query(GetOwner(alias=alias), Owner)
    except RequestRejected as rejected:
        if rejected.code == "DEVELOPER_NOT_FOUND":
            raise RequestRejected("PROJECT_OWNER_INVALID") from rejected
        raise


def owner_from_actor(ctx: Context) -> Owner:
    return Owner(alias=ctx.metadata.actor.name, kind="user", id=ctx.metadata.actor.id)


def owner_fields(owner: Owner) -> Payload:
    """Return the owner as fields of a project: the alias in its path, and the id of the user or company."""
    is_company = owner.kind == "company"
    return {
        "owner_alias": owner.alias,
        "owner_user_id": None if is_company else owner.id,
        "company_id": owner.id if is_company else None,
    }


async def find_free_alias(ctx: Context, owner: str, wanted: str) -> str:
    """Return the wanted alias, or the first numbered variant that is free for this owner."""
    condition = {"owner_key": owner.lower(), "alias": {"$regex": slug_family_regex(wanted)}}
    return find_free_slug(wanted, {row.alias async for row in ctx.read_model(ProjectRow).iterate(condition)})


async def prepare_move(ctx: Context, command: MoveProject) -> SetProjectPath:
    """Resolve the new owner. Without an alias in the command, choose an alias that is free for the new owner."""
    row = await require_project(ctx, command.project_id)
    alias = None if command.alias is None else validate_alias(command.alias)
    if not command.owner_alias:
        return SetProjectPath(project_id=row.id, alias=alias)
    owner = await resolve_owner(ctx, command.owner_alias)
    if alias is None and owner.alias.lower() != row.owner_key:
        alias = await find_free_alias(ctx, owner.alias, row.alias)
    return SetProjectPath(**owner_fields(owner), project_id=row.id, alias=alias)


async def prepare_secret_selection(ctx: Context, command: SetProjectSecrets) -> SelectSecrets:
    """Find the secrets to attach to and to detach from the project."""
    await require_references(ctx, command)
    requested = set(command.secrets_id)
    current = set(await list_secret_ids(ctx, command.project_id))
    return SelectSecrets(
        project_id=command.project_id,
        secrets_id=sort_unique(command.secrets_id),
        attached=tuple(sorted(requested - current)),
        detached=tuple(sorted(current - requested)),
    )


async def prepare_membership_selection(ctx: Context, command: SetDeveloperProjects) -> SelectProjects:
    """Find the projects that the developer joins and leaves."""
    await require_all(ctx, ProjectRow, "project", command.projects_id)
    requested = set(command.projects_id)
    current = {row.id async for row in ctx.read_model(ProjectRow).iterate({"developers_id": command.developer_id})}
    return SelectProjects(
        developer_id=command.developer_id,
        projects_id=sort_unique(command.projects_id),
        joined=tuple(sorted(requested - current)),
        left=tuple(sorted(current - requested)),
    )


async def prepare_signature_key_renewal(ctx: Context, command: RenewSignatureKey) -> SetSignatureKey:
    # encrypting for a deleted project would create a key that is never deleted
    await require_project(ctx, command.project_id)
    sealed_key = await generate_signature_key(ctx, command.project_id)
    return SetSignatureKey(project_id=command.project_id, sealed_signature_key=sealed_key)


async def generate_signature_key(ctx: Context, project_id: int) -> str:
    return await ctx.vault.encrypt(f"project-{project_id}", secrets.token_hex(16))


async def prepare_project_deletion(ctx: Context, command: DeleteProject) -> RemoveProject:
    """Find the secrets to detach."""
    secrets_id = await list_secret_ids(ctx, command.project_id)
    return RemoveProject(project_id=command.project_id, secrets_id=secrets_id)
