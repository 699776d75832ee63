"""History."""

from gateway.history import ANSWER, PARAMETERS, history_or_state
from gateway.routing import own

HISTORY = (
    own(
        "GET",
        "/admin/history/{kind}/{id}",
        history_or_state,
        write=ANSWER,
        query=PARAMETERS,
        errors=("REQUEST_MALFORMED", "HISTORY_KIND_UNKNOWN", "HISTORY_NOT_FOUND"),
    ),
)
