"""What follows: secrets learn of projects, pushes build, owners take projects along, deleted things lose their keys."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from contracts.builds import BuildFinished, QueueBuild
from contracts.errors import RequestRejected
from contracts.identity import CompanyDeleted, CompanyRenamed, GetCompany, GetUser, UserDeleted, UserRenamed
from contracts.messages import Command
from contracts.projects import (
    AddDeveloper,
    AttachSecret,
    CredentialDeleted,
    DeliveryAccepted,
    DetachSecret,
    DeveloperProjectsSet,
    ExecutorDeleted,
    MoveProject,
    ProjectCreated,
    ProjectDeleted,
    ProjectMoved,
    ProjectSecretsSet,
    RemoveDeveloper,
    SecretDeleted,
)
from libs.eventstore.decider import RecordedEvent
from libs.service.declaration import Context, Worker
from services.projects.webhooks import deliveries


def on_project_event(recorded: RecordedEvent[Any]) -> Sequence[Command]:
    match recorded.event:
        case ProjectSecretsSet(project_id=project_id, attached=attached, detached=detached):
            return [
                *(AttachSecret(secret_id=one, project_id=project_id) for one in attached),
                *(DetachSecret(secret_id=one, project_id=project_id) for one in detached),
            ]
        case DeveloperProjectsSet(developer_id=developer_id, joined=joined, left=left):
            return [
                *(AddDeveloper(project_id=one, developer_id=developer_id) for one in joined),
                *(RemoveDeveloper(project_id=one, developer_id=developer_id) for one in left),
            ]
        case DeliveryAccepted() as accepted:
            return [
                QueueBuild(
                    project_id=accepted.project_id,
                    ref=accepted.ref,
                    sha=accepted.sha,
                    before_sha=accepted.before_sha,
                    source="push",
                    delivery_id=accepted.delivery_id,
                )
            ]
        case ProjectDeleted(project_id=project_id, secrets_id=secrets_id):
            return [DetachSecret(secret_id=one, project_id=project_id) for one in secrets_id]
        case _:
            return []


async def shred_stream_key(ctx: Context, recorded: RecordedEvent[Any]) -> None:
    await ctx.vault.shred(recorded.stream)


async def remove_from_projects(ctx: Context, recorded: RecordedEvent[UserDeleted]) -> None:
    user_id = recorded.event.user_id
    async for project in ctx.read_model("project").walk({"developers_id": user_id}):
        await ctx.send(RemoveDeveloper(project_id=project.id, developer_id=user_id), step=str(project.id))


async def move_projects_of_user(ctx: Context, recorded: RecordedEvent[UserRenamed]) -> None:
    renamed = recorded.event
    # projects from before their owner was known by number go by the name: whoever took it since has newer ones
    unnumbered = {"owner_user_id": None, "company_id": None, "created_at": {"$lt": recorded.at}}
    former = {"owner_key": renamed.former_username.lower(), **unnumbered}
    await move_projects(ctx, GetUser(user_id=renamed.user_id), {"$or": [{"owner_user_id": renamed.user_id}, former]})


async def move_projects_of_company(ctx: Context, recorded: RecordedEvent[CompanyRenamed]) -> None:
    company_id = recorded.event.company_id
    await move_projects(ctx, GetCompany(company_id=company_id), {"company_id": company_id})


async def move_projects(ctx: Context, owner: GetUser | GetCompany, owned: Mapping[str, Any]) -> None:
    """To the name of today, and again if that changed while they moved: renamings may be worked off in any order."""
    moved_to = None
    while (name := await fetch_owner_name(ctx, owner)) not in (None, moved_to):
        async for project in ctx.read_model("project").walk({"$and": [owned, {"owner_alias": {"$ne": name}}]}):
            # each try is a new wish: a move that is already true changes nothing, and an earlier one may be undone
            await ctx.send(MoveProject(project_id=project.id, owner_alias=name), step=str(uuid4()))
        moved_to = name


async def fetch_owner_name(ctx: Context, owner: GetUser | GetCompany) -> str | None:
    try:
        answer = await ctx.query(owner)
    except RequestRejected as refused:
        if refused.code not in ("DEVELOPER_NOT_FOUND", "COMPANY_NOT_FOUND"):
            raise
        return None
    name: str = answer["username" if isinstance(owner, GetUser) else "alias"]
    return name


async def rescue_company_projects(
    ctx: Context, recorded: RecordedEvent[CompanyDeleted | ProjectCreated | ProjectMoved]
) -> None:
    """A company goes without projects. One that it got in that very moment is seen from here or from there, whichever
    came later, and goes to whoever did that; if that one is gone as well, an administrator gives it to somebody."""
    company_id = recorded.event.company_id
    if company_id is None or await fetch_owner_name(ctx, GetCompany(company_id=company_id)) is not None:
        return
    if (name := await fetch_owner_name(ctx, GetUser(user_id=recorded.metadata.actor.id))) is not None:
        async for project in ctx.read_model("project").walk({"company_id": company_id}):
            await ctx.send(MoveProject(project_id=project.id, owner_alias=name), step=str(project.id))


WORKERS = (
    Worker(
        "erase_deleted",
        "projects",
        (ProjectDeleted, SecretDeleted, CredentialDeleted, ExecutorDeleted),
        shred_stream_key,
    ),
    Worker("forget_deliveries", "projects", (ProjectDeleted,), deliveries.purge_project),
    Worker("forget_request_bodies", "builds", (BuildFinished,), deliveries.delete_payload),
    Worker("leave_projects", "identity", (UserDeleted,), remove_from_projects),
    Worker("move_projects", "identity", (UserRenamed,), move_projects_of_user),
    Worker("move_company_projects", "identity", (CompanyRenamed,), move_projects_of_company),
    Worker("leave_deleted_company", "identity", (CompanyDeleted,), rescue_company_projects),
    Worker("leave_missing_company", "projects", (ProjectCreated, ProjectMoved), rescue_company_projects),
)
