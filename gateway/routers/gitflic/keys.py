"""Routes of users' SSH keys in GitFlic's API."""

from typing import Annotated

from fastapi import Depends, Security

from contracts.identity import AddSshKey, GetSshKey, ListSshKeys, RemoveSshKey
from gateway.adapters.gitflic.ownership import find_user
from gateway.adapters.gitflic.slices import read_slice_fields
from gateway.adapters.gitflic.user_models import KEY_PAGE, ONE_KEY, KeyRequest
from gateway.dependencies import gitflic_admin
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import gitflic_router
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import ReturnMessage

AdminReader = Annotated[Actor, Security(gitflic_admin, scopes=["USER_READ"])]
AdminWriter = Annotated[Actor, Security(gitflic_admin, scopes=["USER_WRITE"])]
ReadUserId = Annotated[int, Security(find_user, scopes=["USER_READ"])]
WriteUserId = Annotated[int, Security(find_user, scopes=["USER_WRITE"])]

router = gitflic_router("/api/admin/user", "Users")

forward(
    router,
    "POST",
    "/{user_alias}/key/create",
    AddSshKey,
    AdminWriter,
    "Add a public key to the user. Broken keys, weak keys, and keys already in use are rejected.",
    body=KeyRequest,
    response=ONE_KEY,
    return_message=ReturnMessage(GetSshKey, "user_id"),
    errors=("KEY_LIMIT",),
    user_id=WriteUserId,
)
forward(
    router,
    "GET",
    "/{user_alias}/key",
    ListSshKeys,
    AdminReader,
    "List the user's keys, oldest first.",
    response=KEY_PAGE,
    fields=(Depends(read_slice_fields),),
    user_id=ReadUserId,
)
forward(
    router,
    "GET",
    "/{user_alias}/key/{key_uuid}",
    GetSshKey,
    AdminReader,
    "Get a key of the user.",
    response=ONE_KEY,
    user_id=ReadUserId,
)
forward(
    router,
    "DELETE",
    "/{user_alias}/key/delete/{key_uuid}",
    RemoveSshKey,
    AdminWriter,
    "Remove a key, which may then be added again by any user.",
    user_id=WriteUserId,
)
