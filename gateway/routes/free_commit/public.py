"""Routes of sign-in, ping, and the user of a token."""

from contracts.identity import (
    LogIn,
)
from gateway.adapters.free_commit import handlers as actions
from gateway.adapters.free_commit import models as fc
from gateway.framework.route_table import command, own

PUBLIC = (
    command(
        "POST",
        "/auth/token",
        LogIn,
        body=fc.LOGIN,
        parts=(fc.add_client_ip,),
        write=fc.TOKEN,
        timeout=10,
        errors=("UNAUTHORIZED", "TOO_MANY_REQUESTS"),
    ),
    own("GET", "/user/info", actions.get_user_info, write=fc.USER),
    own("GET", "/guest/ping", actions.ping),
)
