"""What follows: secrets learn of their projects, users take their projects along, deleted things lose their keys."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from contracts.errors import Refused
from contracts.identity import GetUser, UserDeleted, UserRenamed
from contracts.messages import Command
from contracts.projects import (
    AttachSecret,
    CredentialDeleted,
    DetachSecret,
    ExecutorDeleted,
    MoveProject,
    ProjectDeleted,
    ProjectSecretsChosen,
    RemoveDeveloper,
    SecretDeleted,
)
from libs.deciding import Recorded
from libs.service import Context, Worker


def on_projects(recorded: Recorded[Any]) -> Sequence[Command]:
    match recorded.event:
        case ProjectSecretsChosen(project_id=project_id, attached=attached, detached=detached):
            return [
                *(AttachSecret(secret_id=one, project_id=project_id) for one in attached),
                *(DetachSecret(secret_id=one, project_id=project_id) for one in detached),
            ]
        case ProjectDeleted(project_id=project_id, secrets_id=secrets_id):
            return [DetachSecret(secret_id=one, project_id=project_id) for one in secrets_id]
        case _:
            return []


async def erase(ctx: Context, recorded: Recorded[Any]) -> None:
    await ctx.vault.erase(recorded.stream)


async def leave_projects(ctx: Context, recorded: Recorded[UserDeleted]) -> None:
    user_id = recorded.event.user_id
    async for project in ctx.rows("project").each({"developers_id": user_id}):
        await ctx.tell(RemoveDeveloper(project_id=project.id, developer_id=user_id), step=str(project.id))


async def move_projects(ctx: Context, recorded: Recorded[UserRenamed]) -> None:
    """To the name of today, and again if that changed while they moved: renamings may be worked off in any order."""
    older = {"created_at": {"$lt": recorded.at}}  # whoever took the former name has newer projects under it
    names = {recorded.event.former_username.lower()}
    moved_to = None
    while (owner := await name_of(ctx, recorded.event.user_id)) not in (None, moved_to):
        behind = {"owner_key": {"$in": sorted(names)}, "owner_alias": {"$ne": owner}, **older}
        async for project in ctx.rows("project").each(behind):
            # each try is a new wish: a move that is already true changes nothing, and an earlier one may be undone
            await ctx.tell(MoveProject(project_id=project.id, owner_alias=owner), step=str(uuid4()))
        moved_to = owner
        names.add(owner.lower())


async def name_of(ctx: Context, user_id: int) -> str | None:
    try:
        username: str = (await ctx.ask(GetUser(user_id=user_id)))["username"]
    except Refused as refused:
        if refused.code != "DEVELOPER_NOT_FOUND":
            raise
        return None
    return username


workers = (
    Worker("erase_deleted", "projects", (ProjectDeleted, SecretDeleted, CredentialDeleted, ExecutorDeleted), erase),
    Worker("leave_projects", "identity", (UserDeleted,), leave_projects),
    Worker("move_projects", "identity", (UserRenamed,), move_projects),
)
