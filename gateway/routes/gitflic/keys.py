"""Routes of users' SSH keys in GitFlic's API."""

from contracts.identity import AddSshKey, GetSshKey, ListSshKeys, RemoveSshKey
from gateway.adapters.gitflic import user_models
from gateway.framework.route_table import Shown
from gateway.routes.gitflic.gitflic_builders import admin_command, admin_query, paged_query
from libs.messaging.request_reply import ReturnQuery

_key = Shown(ReturnQuery(GetSshKey, "user_id"), user_models.ONE_KEY)
KEYS_OF_USER = "/admin/user/{user_alias}/key"

KEYS = (
    admin_command(
        "POST",
        f"{KEYS_OF_USER}/create",
        AddSshKey,
        find=user_models.find_user,
        body=user_models.KEY,
        shows=_key,
        errors=("KEY_LIMIT",),
    ),
    paged_query(KEYS_OF_USER, ListSshKeys, user_models.KEY_PAGE, find=user_models.find_user),
    admin_query(KEYS_OF_USER + "/{key_uuid}", GetSshKey, find=user_models.find_user, write=user_models.ONE_KEY),
    admin_command("DELETE", KEYS_OF_USER + "/delete/{key_uuid}", RemoveSshKey, find=user_models.find_user),
)
