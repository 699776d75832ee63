"""Routes of users: developers in Free Commit's API, users in GitFlic's."""

from functools import partial

from contracts.identity import (
    ChangeEmail,
    ChangePassword,
    ChangeProviderName,
    ChangeRoles,
    DeleteUser,
    GetUser,
    ListUsers,
    ListUserSummaries,
    RegisterUser,
    RenameUser,
    SetUserEnabled,
    SetUserProjects,
)
from gateway.adapters.free_commit import models as fc
from gateway.adapters.gitflic import user_models
from gateway.framework.fields import boolean, integers, text, texts
from gateway.framework.route_table import Shown, body, command, query
from gateway.routes.gitflic.gitflic_builders import admin_command, paged_query
from gateway.routes.route_builders import patch_field
from libs.messaging.request_reply import ReturnQuery

_user = Shown(ReturnQuery(GetUser, "user_id"), fc.ONE_DEVELOPER)
LAST_ADMIN = ("DEVELOPER_LAST_ADMINISTRATOR",)
_gitflic_user = Shown(ReturnQuery(GetUser, "user_id"), user_models.ONE_USER)
patch_developer = partial(patch_field, "/admin/developers/{user_id:id}", "developer", shows=_user)

USERS = (
    query("/developer/developers", ListUsers, write=fc.DEVELOPERS),
    query("/developer/developers/{user_id:id}", GetUser, write=fc.ONE_DEVELOPER),
    query("/admin/developers", ListUsers, write=fc.DEVELOPERS),
    query("/admin/developers/{user_id:id}", GetUser, write=fc.ONE_DEVELOPER),
    command("POST", "/admin/developers", RegisterUser, body=fc.DEVELOPER, status=201, shows=_user),
    patch_developer("username", RenameUser, username=text),
    patch_developer("password", ChangePassword, password=text),
    patch_developer("email", ChangeEmail, email=text.may()),
    patch_developer(
        "github_username", ChangeProviderName, fixed={"provider": "github"}, username=text.called("github_username")
    ),
    patch_developer(
        "gitlab_username", ChangeProviderName, fixed={"provider": "gitlab"}, username=text.called("gitlab_username")
    ),
    patch_developer("enabled", SetUserEnabled, enabled=boolean, errors=LAST_ADMIN),
    patch_developer("roles", ChangeRoles, roles=texts, errors=LAST_ADMIN),
    patch_developer("role", ChangeRoles, roles=texts, errors=LAST_ADMIN),
    command(
        "PATCH",
        "/admin/developers/{user_id:id}/projects",
        SetUserProjects,
        body=body("developer", projects_id=integers.needed()),
        write=fc.ONE_DEVELOPER,
    ),
    command("DELETE", "/admin/developers/{user_id:id}", DeleteUser, status=204, errors=LAST_ADMIN),
    admin_command(
        "POST",
        "/user",
        RegisterUser,
        body=user_models.USER,
        parts=(user_models.add_developer_role,),
        shows=_gitflic_user,
    ),
    paged_query(
        "/admin/user",
        ListUserSummaries,
        user_models.USER_PAGE,
        parts=(user_models.read_user_filter,),
        query=user_models.FILTERS,
    ),
    admin_command(
        "PUT", "/admin/user/{user_alias}/change-email", ChangeEmail, find=user_models.find_user, body=user_models.EMAIL
    ),
    admin_command(
        "PUT",
        "/admin/user/{user_alias}/change-username",
        RenameUser,
        find=user_models.find_user,
        body=user_models.USERNAME,
    ),
    admin_command(
        "PUT",
        "/admin/user/{user_alias}/change-password",
        ChangePassword,
        find=user_models.find_user,
        body=user_models.PASSWORD,
        errors=("DEVELOPER_PASSWORDS_DIFFER",),
    ),
)
