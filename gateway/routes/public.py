"""What needs no token, and who the token is."""

from contracts.identity import (
    LogIn,
)
from gateway.dialects import free_commit as fc
from gateway.dialects import free_commit_actions as actions
from gateway.routing import own, query

PUBLIC = (
    query(
        "/auth/token",
        LogIn,
        method="POST",
        body=fc.LOGIN,
        parts=(fc.from_address,),
        write=fc.TOKEN,
        timeout=10,
        errors=("UNAUTHORIZED", "TOO_MANY_REQUESTS"),
    ),
    own("GET", "/user/info", actions.user_info, write=fc.USER),
    own("GET", "/guest/ping", actions.ping),
)
