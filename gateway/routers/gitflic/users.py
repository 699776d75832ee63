"""Routes of users in GitFlic's API."""

from functools import partial
from typing import Annotated

from fastapi import Depends, Security

from contracts.identity import ChangeEmail, ChangePassword, GetUser, ListUserSummaries, RegisterUser, RenameUser
from gateway.adapters.gitflic.ownership import find_user
from gateway.adapters.gitflic.slices import read_slice_fields
from gateway.adapters.gitflic.user_models import (
    ONE_USER,
    USER_PAGE,
    EmailRequest,
    PasswordRequest,
    UsernameRequest,
    UserRequest,
    read_user_filter,
)
from gateway.dependencies import gitflic_admin
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import gitflic_router
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import ReturnMessage

AdminReader = Annotated[Actor, Security(gitflic_admin, scopes=["USER_READ"])]
AdminWriter = Annotated[Actor, Security(gitflic_admin, scopes=["USER_WRITE"])]

registration = gitflic_router("/api/user", "Users")
router = gitflic_router("/api/admin/user", "Users")
change = partial(
    forward, router, "PUT", user=AdminWriter, user_id=Annotated[int, Security(find_user, scopes=["USER_WRITE"])]
)

forward(
    registration,
    "POST",
    "",
    RegisterUser,
    AdminWriter,
    "Create a user, who can sign in to all APIs of this server.",
    body=UserRequest,
    fixed={"roles": ("ROLE_DEVELOPER",)},  # new users can also use Free Commit's API
    response=ONE_USER,
    return_message=ReturnMessage(GetUser, "user_id"),
)
forward(
    router,
    "GET",
    "",
    ListUserSummaries,
    AdminReader,
    "List users by username, filtered by e-mail address and username.",
    response=USER_PAGE,
    fields=(Depends(read_slice_fields), Depends(read_user_filter)),
)
change("/{user_alias}/change-email", ChangeEmail, summary="Change the e-mail address.", body=EmailRequest)
change(
    "/{user_alias}/change-username",
    RenameUser,
    summary="Change the username. The previous one stops working at once.",
    body=UsernameRequest,
)
change(
    "/{user_alias}/change-password",
    ChangePassword,
    summary="Change the password. All login tokens and personal tokens of the user become invalid.",
    body=PasswordRequest,
    errors=("DEVELOPER_PASSWORDS_DIFFER",),
)
