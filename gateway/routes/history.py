"""The route of histories and past states."""

from gateway.framework.route_table import own
from gateway.object_history import HISTORY_OR_STATE, PARAMETERS, get_history_or_state

HISTORY = (
    own(
        "GET",
        "/admin/history/{kind}/{id}",
        get_history_or_state,
        write=HISTORY_OR_STATE,
        query=PARAMETERS,
        errors=("REQUEST_MALFORMED", "HISTORY_KIND_UNKNOWN", "HISTORY_NOT_FOUND"),
    ),
)
