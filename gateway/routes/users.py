"""Users: Free Commit's developers, and the same as GitFlic has them."""

from functools import partial

from contracts.identity import (
    ChangeEmail,
    ChangePassword,
    ChangeProviderName,
    ChangeRoles,
    ChooseProjectsOfUser,
    DeleteUser,
    FindUsers,
    GetUser,
    ListUsers,
    RegisterUser,
    RenameUser,
    SetUserEnabled,
)
from gateway.dialects import free_commit as fc
from gateway.dialects.gitflic import users
from gateway.fields import boolean, integers, text, texts
from gateway.routes.gitflic import listing, tell
from gateway.routes.patching import change
from gateway.routing import Shown, body, command, query
from libs.messaging import Showing

_user = Shown(Showing(GetUser, "user_id"), fc.ONE_DEVELOPER)
LAST = ("DEVELOPER_LAST_ADMINISTRATOR",)
_gitflic_user = Shown(Showing(GetUser, "user_id"), users.ONE_USER)
developer = partial(change, "/admin/developers/{user_id:id}", "developer", shows=_user)

USERS = (
    query("/developer/developers", ListUsers, write=fc.DEVELOPERS),
    query("/developer/developers/{user_id:id}", GetUser, write=fc.ONE_DEVELOPER),
    query("/admin/developers", ListUsers, write=fc.DEVELOPERS),
    query("/admin/developers/{user_id:id}", GetUser, write=fc.ONE_DEVELOPER),
    command("POST", "/admin/developers", RegisterUser, body=fc.DEVELOPER, status=201, shows=_user),
    developer("username", RenameUser, username=text),
    developer("password", ChangePassword, password=text),
    developer("email", ChangeEmail, email=text.may()),
    developer(
        "github_username", ChangeProviderName, fixed={"provider": "github"}, username=text.called("github_username")
    ),
    developer(
        "gitlab_username", ChangeProviderName, fixed={"provider": "gitlab"}, username=text.called("gitlab_username")
    ),
    developer("enabled", SetUserEnabled, enabled=boolean, errors=LAST),
    developer("roles", ChangeRoles, roles=texts, errors=LAST),
    developer("role", ChangeRoles, roles=texts, errors=LAST),
    command(
        "PATCH",
        "/admin/developers/{user_id:id}/projects",
        ChooseProjectsOfUser,
        body=body("developer", projects_id=integers.needed()),
        write=fc.ONE_DEVELOPER,
    ),
    command("DELETE", "/admin/developers/{user_id:id}", DeleteUser, status=204, errors=LAST),
    tell("POST", "/user", RegisterUser, body=users.USER, parts=(users.as_developer,), shows=_gitflic_user),
    listing("/admin/user", FindUsers, users.USER_PAGE, parts=(users.wanted,), query=users.FILTERS),
    tell("PUT", "/admin/user/{user_alias}/change-email", ChangeEmail, find=users.owner, body=users.EMAIL),
    tell("PUT", "/admin/user/{user_alias}/change-username", RenameUser, find=users.owner, body=users.USERNAME),
    tell(
        "PUT",
        "/admin/user/{user_alias}/change-password",
        ChangePassword,
        find=users.owner,
        body=users.PASSWORD,
        errors=("DEVELOPER_PASSWORDS_DIFFER",),
    ),
)
