"""Workers: key deletion, membership cleanup, and the move of projects with their owners."""

from uuid import uuid4

from contracts.builds import BuildFinished
from contracts.errors import RequestRejected
from contracts.identity import (
    CompanyDeleted,
    CompanyRenamed,
    CompanyView,
    GetCompany,
    GetUser,
    UserDeleted,
    UserRenamed,
    UserView,
)
from contracts.messages import Event
from contracts.projects import (
    CredentialDeleted,
    ExecutorDeleted,
    MoveProject,
    ProjectCreated,
    ProjectDeleted,
    ProjectMoved,
    SecretDeleted,
)
from libs.documents import Filter
from libs.eventstore.decider import RecordedEvent
from libs.service.declaration import Context, Worker
from services.projects.domain.internal_commands import RemoveDeveloper
from services.projects.projections import ProjectRow
from services.projects.webhooks import payloads


async def shred_stream_key(ctx: Context, recorded: RecordedEvent[Event]) -> None:
    """Delete the encryption key of a deleted stream, which makes its secrets unreadable."""
    await ctx.vault.shred(recorded.stream)


async def remove_from_projects(ctx: Context, recorded: RecordedEvent[UserDeleted]) -> None:
    user_id = recorded.event.user_id
    async for project in ctx.read_model(ProjectRow).walk({"developers_id": user_id}):
        await ctx.send(RemoveDeveloper(project_id=project.id, developer_id=user_id), step=str(project.id))


async def move_projects_of_user(ctx: Context, recorded: RecordedEvent[UserRenamed]) -> None:
    renamed = recorded.event
    # old projects store only the name of their owner; projects of a later user of that name are newer than the event
    without_owner_id = {"owner_user_id": None, "company_id": None, "created_at": {"$lt": recorded.at}}
    by_name = {"owner_key": renamed.former_username.lower(), **without_owner_id}
    await move_projects(ctx, GetUser(user_id=renamed.user_id), {"$or": [{"owner_user_id": renamed.user_id}, by_name]})


async def move_projects_of_company(ctx: Context, recorded: RecordedEvent[CompanyRenamed]) -> None:
    company_id = recorded.event.company_id
    await move_projects(ctx, GetCompany(company_id=company_id), {"company_id": company_id})


async def move_projects(ctx: Context, owner: GetUser | GetCompany, owned: Filter) -> None:
    """Move the projects to the present name of the owner.

    Repeat if the name changes during the move, because rename events may be handled in any order.
    """
    moved_to = None
    while (name := await fetch_owner_name(ctx, owner)) not in (None, moved_to):
        async for project in ctx.read_model(ProjectRow).walk({"$and": [owned, {"owner_alias": {"$ne": name}}]}):
            # a fresh command id: repeated moves change nothing, and an earlier move may have been undone
            await ctx.send(MoveProject(project_id=project.id, owner_alias=name), step=str(uuid4()))
        moved_to = name


async def fetch_owner_name(ctx: Context, owner: GetUser | GetCompany) -> str | None:
    """Return the present name of a user or company, or None if it was deleted."""
    try:
        if isinstance(owner, GetUser):
            return (await ctx.query(owner, UserView)).username
        return (await ctx.query(owner, CompanyView)).alias
    except RequestRejected as rejected:
        if rejected.code not in ("DEVELOPER_NOT_FOUND", "COMPANY_NOT_FOUND"):
            raise
        return None


async def rescue_company_projects(
    ctx: Context, recorded: RecordedEvent[CompanyDeleted | ProjectCreated | ProjectMoved]
) -> None:
    """Move projects out of a deleted company.

    A company is deleted only without projects, but a project may be created or moved into it concurrently. Whichever
    event is handled later finds the project and moves it to the user who caused that event. If that user was deleted as
    well, the project stays and an administrator has to move it.
    """
    company_id = recorded.event.company_id
    if company_id is None or await fetch_owner_name(ctx, GetCompany(company_id=company_id)) is not None:
        return
    if (name := await fetch_owner_name(ctx, GetUser(user_id=recorded.metadata.actor.id))) is not None:
        async for project in ctx.read_model(ProjectRow).walk({"company_id": company_id}):
            await ctx.send(MoveProject(project_id=project.id, owner_alias=name), step=str(project.id))


WORKERS = (
    Worker(
        "erase_deleted",
        "projects",
        (ProjectDeleted, SecretDeleted, CredentialDeleted, ExecutorDeleted),
        shred_stream_key,
    ),
    Worker("forget_deliveries", "projects", (ProjectDeleted,), payloads.purge_project),
    Worker("forget_request_bodies", "builds", (BuildFinished,), payloads.delete_payload),
    Worker("leave_projects", "identity", (UserDeleted,), remove_from_projects),
    Worker("move_projects", "identity", (UserRenamed,), move_projects_of_user),
    Worker("move_company_projects", "identity", (CompanyRenamed,), move_projects_of_company),
    Worker("leave_deleted_company", "identity", (CompanyDeleted,), rescue_company_projects),
    Worker[ProjectCreated | ProjectMoved](
        "leave_missing_company", "projects", (ProjectCreated, ProjectMoved), rescue_company_projects
    ),
)
