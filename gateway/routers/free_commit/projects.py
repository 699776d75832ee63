"""Routes of projects in Free Commit's API. `gateway/routers/project_settings.py` has most routes that change one."""

from functools import partial
from typing import Annotated

from fastapi import Security
from starlette.responses import Response

from contracts.projects import (
    CreateProject,
    GetProject,
    ListProjects,
    MoveProject,
    SetProjectCredential,
    SetProjectDevelopers,
    SetProjectExecutor,
)
from gateway.adapters.free_commit.models import ONE_PROJECT, PROJECTS
from gateway.adapters.free_commit.request_fields import PROJECT
from gateway.dependencies import Bus, admin, developer
from gateway.errors import READ_ERRORS, errors
from gateway.forwarding.changes import forward_change
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import free_commit_router
from gateway.routers.project_settings import add_project_routes
from gateway.schemas.path_parameters import ProjectId
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import ReturnMessage

DeveloperReader = Annotated[Actor, Security(developer, scopes=["PROJECT_READ"])]
AdminReader = Annotated[Actor, Security(admin, scopes=["PROJECT_READ"])]
AdminEditor = Annotated[Actor, Security(admin, scopes=["PROJECT_EDIT"])]
AdminWriter = Annotated[Actor, Security(admin, scopes=["PROJECT_WRITE"])]

developers = free_commit_router("/api/developer/projects", "Projects")
admins = free_commit_router("/api/admin/projects", "Projects")
revealed = ReturnMessage(GetProject, "project_id", reveal=True)
change = partial(
    forward_change,
    admins,
    "/{project_id:id}",
    body=PROJECT,
    user=AdminEditor,
    response=ONE_PROJECT,
    return_message=revealed,
)
LIST = "List the projects that the user may see, by id."
GET = "Get a project. Only administrators see its signature key."
MOVE = "Change the project's owner or alias. If a new owner has another project with the alias, a number is added."


@developers.get("", response_model=PROJECTS.model, summary=LIST, responses=errors(*READ_ERRORS))
async def list_projects(user: DeveloperReader, bus: Bus) -> Response:
    return await bus.respond(ListProjects(reveal=user.is_admin), user, PROJECTS)


@developers.get(
    "/{project_id:id}",
    response_model=ONE_PROJECT.model,
    summary=GET,
    responses=errors(*READ_ERRORS, "NOT_FOUND", "PROJECT_NOT_FOUND"),
)
async def get_project(project_id: ProjectId, user: DeveloperReader, bus: Bus) -> Response:
    return await bus.respond(GetProject(project_id=project_id, reveal=user.is_admin), user, ONE_PROJECT)


forward(admins, "GET", "", ListProjects, AdminReader, LIST, response=PROJECTS, fixed={"reveal": True})
forward(admins, "GET", "/{project_id:id}", GetProject, AdminReader, GET, response=ONE_PROJECT, fixed={"reveal": True})
forward(
    admins,
    "POST",
    "",
    CreateProject,
    AdminWriter,
    "Create a project with a new signature key for webhooks.",
    body=PROJECT,
    response=ONE_PROJECT,
    return_message=revealed,
    status_code=201,
)
add_project_routes(admins, admin)
change(
    "developers",
    SetProjectDevelopers,
    "Replace the project's developers. A listed maintainer or reader becomes a developer.",
    field="developers_id",
    reject_null=True,
)
change(
    "repository_credential",
    SetProjectCredential,
    "Set the SSH key for the repository, or remove it.",
    field="credential_id",
    required=False,
)
change("executor", SetProjectExecutor, "Set the project's executor.", field="executor_id")
change("owner_alias", MoveProject, MOVE, required=False)
change("alias", MoveProject, MOVE, required=False)
