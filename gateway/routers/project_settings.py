"""Routes of the settings of a project and its secrets that administrators, maintainers or owners may change.

The services decide who is a maintainer or owner.
"""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Security

from contracts.messages import Command, Query
from contracts.projects import (
    ChangeBadges,
    ChangeBranch,
    ChangeConcurrency,
    ChangeEscapedCharacters,
    ChangeForge,
    ChangeRepository,
    ChangeRetention,
    ChangeRetentionLimits,
    ChangeSecretValue,
    ChangeSpecFilePath,
    ChangeTriggers,
    ChangeVisibility,
    CreateSecret,
    DeleteProject,
    DescribeProject,
    GetProject,
    GetSecret,
    ListProjectMembers,
    ProtectBranches,
    RemoveProjectMember,
    RenameProject,
    RenewSignatureKey,
    SetProjectMember,
    SetProjectSecrets,
    SetSecretEnvironment,
    SetSecretProjects,
)
from gateway.adapters.forge_webhooks import TRIGGERS
from gateway.adapters.free_commit.models import ECHOED_SECRET, ONE_PROJECT, ONE_SECRET
from gateway.adapters.free_commit.request_fields import PROJECT, PUBLICATION, SECRET
from gateway.dependencies import RequireRole, admin, developer
from gateway.forwarding.changes import forward_change
from gateway.forwarding.forward import forward
from gateway.forwarding.serializers import Serializer
from gateway.routers.prefix_router import json_router
from gateway.schemas.project_forge import FORGE
from gateway.schemas.project_members import MEMBER, MEMBERS
from gateway.schemas.project_retention import RETENTION
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import ReturnMessage

developer_projects = json_router("/api/developer/projects", "Projects")
admin_projects = json_router("/api/admin/projects", "Projects")
developer_secrets = json_router("/api/developer/secrets", "Secrets")


def user_of(role: RequireRole, scope: str) -> Any:
    return Annotated[Actor, Security(role, scopes=[scope])]


def _for(role: RequireRole, members: str) -> str:
    """Return the end of a summary: which users without the role of an administrator may call the route."""
    return f" For {members}." if role is developer else ""


def add_access_routes(router: APIRouter, role: RequireRole) -> None:
    """Add the routes of a project's visibility, badges, triggers, forge and members."""
    editor = user_of(role, "PROJECT_EDIT")
    forward_change(
        router,
        "/{project_id:id}",
        "visibility",
        ChangeVisibility,
        "Change who may see the project: `internal`: all users; `private`: members, owners and administrators.",
        body=PROJECT,
        user=editor,
        response=ONE_PROJECT,
        return_message=ReturnMessage(GetProject, "project_id", reveal=True),
    )
    forward_change(
        router,
        "/{project_id:id}",
        "badges",
        ChangeBadges,
        "Publish the result of the last build as a badge and in `cc.xml`, without a sign-in, or stop publishing it.",
        body=PUBLICATION,
        user=editor,
        response=ONE_PROJECT,
        return_message=ReturnMessage(GetProject, "project_id", reveal=True),
    )
    forward(
        router,
        "PATCH",
        "/{project_id:id}/triggers",
        ChangeTriggers,
        editor,
        "Change what webhooks start and cancel." + _for(role, "maintainers of the project"),
        body=TRIGGERS,
        response=ONE_PROJECT,
        return_message=ReturnMessage(GetProject, "project_id", reveal=True),
    )
    forward(
        router,
        "PUT",
        "/{project_id:id}/forge",
        ChangeForge,
        editor,
        "Change the forge that shows the results of builds, and the secret with the token for it."
        + _for(role, "owners of the project"),
        body=FORGE,
        response=ONE_PROJECT,
        return_message=ReturnMessage(GetProject, "project_id", reveal=True),
        errors=("SECRET_NAME_INVALID",),
    )
    forward(
        router,
        "GET",
        "/{project_id:id}/members",
        ListProjectMembers,
        user_of(role, "PROJECT_READ"),
        "List the members of the project by user id, with their roles.",
        response=MEMBERS,
    )
    forward(
        router,
        "PUT",
        "/{project_id:id}/members/{user_id:id}",
        SetProjectMember,
        editor,
        "Add a member to the project, or change the role of one.",
        body=MEMBER,
        status_code=204,
        errors=("PROJECT_MEMBER_LIMIT",),
    )
    forward(
        router,
        "DELETE",
        "/{project_id:id}/members/{user_id:id}",
        RemoveProjectMember,
        editor,
        "Remove a member from the project. Nothing changes if the user is not a member.",
        status_code=204,
    )


def add_project_routes(router: APIRouter, role: RequireRole) -> None:
    """Add the routes of a project's settings, and its deletion."""
    maintainers, owners = _for(role, "maintainers of the project"), _for(role, "owners of the project")
    editor = user_of(role, "PROJECT_EDIT")
    revealed = ReturnMessage(GetProject, "project_id", reveal=True)
    change = partial(
        forward_change,
        router,
        "/{project_id:id}",
        body=PROJECT,
        user=editor,
        response=ONE_PROJECT,
        return_message=revealed,
    )
    change("name", RenameProject, f"Change the project's name.{maintainers}")
    change("description", DescribeProject, f"Change the project's description.{maintainers}", required=False)
    change(
        "repository",
        ChangeRepository,
        f"Change the repository URL, which includes the login; a URL without one removes the login.{owners}",
    )
    change("branch", ChangeBranch, f"Change the branch that is built.{maintainers}")
    change("spec_file_path", ChangeSpecFilePath, f"Change the path of the spec file.{maintainers}")
    change(
        "keep_number_build",
        ChangeRetention,
        f"Change how many finished builds the project keeps.{maintainers}",
        required=False,
    )
    forward(
        router,
        "PATCH",
        "/{project_id:id}/retention",
        ChangeRetentionLimits,
        editor,
        f"Change how long finished builds, their logs and artifacts are kept, and of how many builds.{maintainers}",
        body=RETENTION,
        response=ONE_PROJECT,
        return_message=revealed,
    )
    change(
        "allow_concurrent_execution",
        ChangeConcurrency,
        f"Allow or forbid builds of the project to run at the same time.{maintainers}",
    )
    change(
        "secrets",
        SetProjectSecrets,
        "Replace the project's secrets. A secret that is detached from its last project is used by no project."
        + _for(role, "maintainers of the project; a new secret must belong to projects that they maintain"),
        field="secrets_id",
        reject_null=True,
    )
    change(
        "protected_branches",
        ProtectBranches,
        "Set the protected branches, as names or globs. Null: the project's branch; if that is `*`, `main` and "
        f"`master`.{maintainers}",
        required=False,
    )
    forward(
        router,
        "PATCH",
        "/{project_id:id}/signature_key",
        RenewSignatureKey,
        editor,
        f"Create a new signature key. Webhooks signed with the previous one are rejected.{maintainers}",
        response=ONE_PROJECT,
        return_message=revealed,
    )
    forward(
        router,
        "DELETE",
        "/{project_id:id}",
        DeleteProject,
        user_of(role, "PROJECT_WRITE"),
        "Delete a project and detach its secrets. Its builds, runners, schedules and receivers are deleted a little "
        f"later.{owners}",
        status_code=204,
    )


def add_secret_routes(
    router: APIRouter, role: RequireRole, response: Serializer = ONE_SECRET, read: type[Command | Query] = GetSecret
) -> None:
    """Add the routes that create and change a secret. After a change, `response` serializes the answer to `read`."""
    maintainers = _for(role, "maintainers of its projects")
    writer = user_of(role, "SECRET_WRITE")
    written = ReturnMessage(GetSecret, "secret_id")  # the client knows the value, which is added to the answer
    change = partial(
        forward_change,
        router,
        "/{secret_id:id}",
        body=SECRET,
        user=writer,
        response=response,
        return_message=ReturnMessage(read, "secret_id"),
    )
    forward(
        router,
        "POST",
        "",
        CreateSecret,
        writer,
        f"Create a secret; without projects it is global, which only administrators may do.{maintainers}",
        body=SECRET,
        response=ECHOED_SECRET,
        return_message=written,
        status_code=201,
    )
    change(
        "value",
        ChangeSecretValue,
        f"Change the secret's value.{maintainers}",
        response=ECHOED_SECRET,
        return_message=written,
    )
    change("env", SetSecretEnvironment, f"Change the secret's label.{maintainers}", required=False)
    change(
        "escape_char",
        ChangeEscapedCharacters,
        f"Change the escaped characters of the secret. They have no effect on its value.{maintainers}",
    )
    change(
        "projects",
        SetSecretProjects,
        "Replace the secret's projects; an empty list makes the secret global, which only administrators may do."
        f"{maintainers}",
        field="projects_id",
        required=False,
    )


add_access_routes(developer_projects, developer)
add_access_routes(admin_projects, admin)
add_project_routes(developer_projects, developer)
add_secret_routes(developer_secrets, developer)
