"""Routes of developers, as Free Commit calls users."""

from functools import partial
from typing import Annotated

from fastapi import Security

from contracts.identity import (
    ChangeEmail,
    ChangePassword,
    ChangeProviderName,
    ChangeRoles,
    DeleteUser,
    GetUser,
    ListUsers,
    RegisterUser,
    RenameUser,
    SetUserEnabled,
    SetUserProjects,
)
from gateway.adapters.free_commit.models import DEVELOPERS, ONE_DEVELOPER
from gateway.adapters.free_commit.request_fields import DEVELOPER, DEVELOPER_CHANGE
from gateway.dependencies import admin, developer
from gateway.forwarding.changes import forward_change
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import free_commit_router
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import ReturnMessage

DeveloperReader = Annotated[Actor, Security(developer, scopes=["USER_READ"])]
AdminReader = Annotated[Actor, Security(admin, scopes=["USER_READ"])]
AdminWriter = Annotated[Actor, Security(admin, scopes=["USER_WRITE"])]

developers = free_commit_router("/api/developer/developers", "Developers")
admins = free_commit_router("/api/admin/developers", "Developers")
changed = ReturnMessage(GetUser, "user_id")
change = partial(
    forward_change, admins, "/{user_id:id}", user=AdminWriter, response=ONE_DEVELOPER, return_message=changed
)
LIST, GET = "List all users by id.", "Get a user by number."
CHANGE_ROLES = "Replace the user's roles. All login tokens and personal tokens of the user become invalid."
CHANGE_NAME = "Change the user's name at a forge; an empty string removes it."
LAST_ADMIN = ("DEVELOPER_LAST_ADMINISTRATOR",)

forward(developers, "GET", "", ListUsers, DeveloperReader, LIST, response=DEVELOPERS)
forward(developers, "GET", "/{user_id:id}", GetUser, DeveloperReader, GET, response=ONE_DEVELOPER)
forward(admins, "GET", "", ListUsers, AdminReader, LIST, response=DEVELOPERS)
forward(admins, "GET", "/{user_id:id}", GetUser, AdminReader, GET, response=ONE_DEVELOPER)
forward(
    admins,
    "POST",
    "",
    RegisterUser,
    AdminWriter,
    "Create a user, who can sign in to all APIs of this server.",
    body=DEVELOPER,
    response=ONE_DEVELOPER,
    return_message=changed,
    status_code=201,
)
change("username", RenameUser, "Change the username. The previous one stops working at once.", body=DEVELOPER)
change(
    "password",
    ChangePassword,
    "Change the password. All login tokens and personal tokens of the user become invalid.",
    body=DEVELOPER,
)
change(
    "email",
    ChangeEmail,
    "Change the e-mail address; null or an empty string removes it.",
    body=DEVELOPER,
    required=False,
)
for provider in ("github", "gitlab"):
    change(
        f"{provider}_username",
        ChangeProviderName,
        CHANGE_NAME,
        body=DEVELOPER,
        message_field="username",
        required=False,
        fixed={"provider": provider},
    )
change(
    "enabled",
    SetUserEnabled,
    "Enable or disable the user. All login tokens and personal tokens of the user become invalid.",
    body=DEVELOPER_CHANGE,
    errors=LAST_ADMIN,
)
change("roles", ChangeRoles, CHANGE_ROLES, body=DEVELOPER_CHANGE, errors=LAST_ADMIN)
change("role", ChangeRoles, CHANGE_ROLES, body=DEVELOPER_CHANGE, field="roles", errors=LAST_ADMIN)
change(
    "projects",
    SetUserProjects,
    "Replace the projects in which the user has the role `developer`. In a listed project, a "
    "maintainer or reader becomes a developer.",
    body=DEVELOPER_CHANGE,
    field="projects_id",
    reject_null=True,
    return_message=None,
)
forward(
    admins,
    "DELETE",
    "/{user_id:id}",
    DeleteUser,
    AdminWriter,
    "Delete a user and erase the user's name and personal data. The last enabled administrator cannot be deleted.",
    status_code=204,
    errors=LAST_ADMIN,
)
