"""Workers that delete keys, payloads and members after deletions, and move projects with their owners."""

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
    ScheduleChanged,
    ScheduleCreated,
    ScheduleDeleted,
    SecretDeleted,
)
from libs.documents import Filter
from libs.eventstore.decider import RecordedEvent
from libs.privacy.redaction import update_commits
from libs.service.declaration import Context, Worker
from services.projects.domain.internal_commands import RemoveDeveloper, SetProjectPath
from services.projects.domain.project_members import LISTS
from services.projects.projections import ProjectRow
from services.projects.schedules import schedule_runs, schedule_timers
from services.projects.webhooks import payloads
from services.projects.webhooks.delivery_projection import delivery_category


async def shred_stream_key(ctx: Context, recorded: RecordedEvent[Event]) -> None:
    """Delete the encryption key of a deleted stream, which makes its secrets unreadable."""
    await ctx.vault.shred(recorded.stream)


async def remove_from_projects(ctx: Context, recorded: RecordedEvent[UserDeleted]) -> None:
    user_id = recorded.event.user_id
    lists = [{name: user_id} for name in LISTS.values()]
    async for project in ctx.read_model(ProjectRow).walk({"$or": lists}):
        await ctx.send(RemoveDeveloper(project_id=project.id, developer_id=user_id), step=str(project.id))


def erased_alias(user_id: int) -> str:
    """Return the alias under which the projects of an erased user are found until they are moved to another owner."""
    return f"erased-user-{user_id}"


async def erase_owner(ctx: Context, recorded: RecordedEvent[UserDeleted]) -> None:
    """Move the projects of a deleted user to an alias without the name, and empty the name in their events.

    Also empty the user's name at the forge in deliveries.
    """
    user_id = recorded.event.user_id
    alias = erased_alias(user_id)
    async for project in ctx.read_model(ProjectRow).walk({"owner_user_id": user_id, "owner_alias": {"$ne": alias}}):
        move = SetProjectPath(project_id=project.id, owner_alias=alias, owner_user_id=user_id)
        await ctx.send(move, step=str(project.id))
    commits, streams = ctx.collection("commits"), ctx.collection("streams")
    named = {"data.owner_user_id": user_id, "data.owner_alias": {"$nin": ["", alias]}}
    await update_commits(
        commits,
        {"events": {"$elemMatch": named}},
        {"$set": {"events.$[named].data.owner_alias": ""}},
        [{f"named.{name}": value for name, value in named.items()}],
    )
    sent = {"data.user_id": user_id, "data.sealed_sender": {"$gt": ""}}
    await update_commits(
        commits,
        {"events": {"$elemMatch": sent}},
        {"$set": {"events.$[sent].data.sealed_sender": ""}},
        [{f"sent.{name}": value for name, value in sent.items()}],
    )
    row = delivery_category.row_field
    await streams.update_many({f"{row}.user_id": user_id}, {"$set": {f"{row}.sealed_sender": ""}})


async def move_projects_of_user(ctx: Context, recorded: RecordedEvent[UserRenamed]) -> None:
    user_id = recorded.event.user_id
    await move_projects(ctx, GetUser(user_id=user_id), {"owner_user_id": user_id})


async def move_projects_of_company(ctx: Context, recorded: RecordedEvent[CompanyRenamed]) -> None:
    company_id = recorded.event.company_id
    await move_projects(ctx, GetCompany(company_id=company_id), {"company_id": company_id})


async def move_projects(ctx: Context, owner: GetUser | GetCompany, owned: Filter) -> None:
    """Move the projects to the current name of the owner.

    Repeat if the name changes during the move, because rename events may be handled in any order.
    """
    moved_to = None
    while (name := await fetch_owner_name(ctx, owner)) not in (None, moved_to):
        async for project in ctx.read_model(ProjectRow).walk({"$and": [owned, {"owner_alias": {"$ne": name}}]}):
            # a random step, so that no earlier move is taken for the same command: it may have been undone since
            await ctx.send(MoveProject(project_id=project.id, owner_alias=name), step=str(uuid4()))
        moved_to = name


async def fetch_owner_name(ctx: Context, owner: GetUser | GetCompany) -> str | None:
    """Return the current name of a user or company, or None if it was deleted."""
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


async def record_owner_ids(ctx: Context) -> None:
    """Record the ids of the owners in projects of release 0.1.0, which recorded only the owner's name."""
    async for project in ctx.read_model(ProjectRow).walk({"owner_user_id": None, "company_id": None}):
        try:
            move = MoveProject(project_id=project.id, owner_alias=project.owner_alias)
            await ctx.send(move, step=str(project.id))
        except RequestRejected as rejected:
            if rejected.code not in ("PROJECT_OWNER_INVALID", "PROJECT_NOT_FOUND"):  # the owner or project was deleted
                raise


WORKERS = (
    Worker(
        "erase_deleted",
        "projects",
        (ProjectDeleted, SecretDeleted, CredentialDeleted, ExecutorDeleted),
        shred_stream_key,
    ),
    Worker("forget_deliveries", "projects", (ProjectDeleted,), payloads.purge_project),
    Worker("delete_schedules", "projects", (ProjectDeleted,), schedule_runs.delete_schedules_of_project),
    Worker[ScheduleCreated | ScheduleChanged | ScheduleDeleted](
        "set_timers",
        "projects",
        (ScheduleCreated, ScheduleChanged, ScheduleDeleted),
        schedule_timers.set_timer,
        now=True,
    ),
    Worker("forget_request_bodies", "builds", (BuildFinished,), payloads.delete_payload),
    Worker("leave_projects", "identity", (UserDeleted,), remove_from_projects),
    Worker("erase_owners", "identity", (UserDeleted,), erase_owner),
    Worker("move_projects", "identity", (UserRenamed,), move_projects_of_user),
    Worker("move_company_projects", "identity", (CompanyRenamed,), move_projects_of_company),
    Worker("leave_deleted_company", "identity", (CompanyDeleted,), rescue_company_projects),
    Worker[ProjectCreated | ProjectMoved](
        "leave_missing_company", "projects", (ProjectCreated, ProjectMoved), rescue_company_projects
    ),
)
