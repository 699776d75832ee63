"""SSH keys of users, as GitFlic has them."""

from contracts.identity import AddSshKey, GetSshKey, PageSshKeys, RemoveSshKey
from gateway.dialects.gitflic import users
from gateway.routes.gitflic import ask, listing, tell
from gateway.routing import Shown
from libs.messaging import Showing

_key = Shown(Showing(GetSshKey, "user_id"), users.ONE_KEY)
KEYS_OF_USER = "/admin/user/{user_alias}/key"

KEYS = (
    tell(
        "POST", f"{KEYS_OF_USER}/create", AddSshKey, find=users.owner, body=users.KEY, shows=_key, errors=("KEY_LIMIT",)
    ),
    listing(KEYS_OF_USER, PageSshKeys, users.KEY_PAGE, find=users.owner),
    ask(KEYS_OF_USER + "/{key_uuid}", GetSshKey, find=users.owner, write=users.ONE_KEY),
    tell("DELETE", KEYS_OF_USER + "/delete/{key_uuid}", RemoveSshKey, find=users.owner),
)
