from functools import partial
from typing import Annotated

from fastapi import Security
from starlette.responses import Response

from contracts.projects import (
    ChangeBranch,
    ChangeConcurrency,
    ChangeRepository,
    ChangeRetention,
    ChangeSpecFilePath,
    CreateProject,
    DeleteProject,
    DescribeProject,
    GetProject,
    ListProjects,
    MoveProject,
    ProtectBranches,
    RenameProject,
    RenewSignatureKey,
    SetProjectCredential,
    SetProjectDevelopers,
    SetProjectExecutor,
    SetProjectSecrets,
)
from gateway.adapters.free_commit.models import ONE_PROJECT, PROJECTS
from gateway.adapters.free_commit.request_fields import PROJECT
from gateway.dependencies import Bus, admin, developer
from gateway.errors import READ_ERRORS, errors
from gateway.forwarding.changes import forward_change
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import free_commit_router
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
LIST = "List all projects by id."
GET = "Get a project. Only administrators see its signature key."
MOVE = "Change the project's owner or alias; the other one stays."


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
change("name", RenameProject, "Change the project's name.")
change("description", DescribeProject, "Change the project's description.", required=False)
change(
    "repository",
    ChangeRepository,
    "Change the repository URL, which includes the login; a URL without one removes the login.",
)
change("branch", ChangeBranch, "Change the branch that is built.")
change("spec_file_path", ChangeSpecFilePath, "Change the path of the spec file.")
change("keep_number_build", ChangeRetention, "Change how many finished builds the project keeps.", required=False)
change(
    "allow_concurrent_execution",
    ChangeConcurrency,
    "Allow or forbid builds of the project to run at the same time.",
)
change("developers", SetProjectDevelopers, "Replace the project's developers.", field="developers_id", reject_null=True)
change(
    "secrets",
    SetProjectSecrets,
    "Replace the project's secrets. A secret without any project left is used by no builds.",
    field="secrets_id",
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
change(
    "protected_branches",
    ProtectBranches,
    "Set the protected branches; null protects the branch that is built.",
    required=False,
)
forward(
    admins,
    "PATCH",
    "/{project_id:id}/signature_key",
    RenewSignatureKey,
    AdminEditor,
    "Create a new signature key. Webhooks signed with the previous one are rejected.",
    response=ONE_PROJECT,
    return_message=revealed,
)
forward(
    admins,
    "DELETE",
    "/{project_id:id}",
    DeleteProject,
    AdminWriter,
    "Delete a project with its builds, logs and runners. Its secrets are detached.",
    status_code=204,
)
