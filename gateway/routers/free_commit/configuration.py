"""Routes of the server's settings in Free Commit's API, and of the test mail."""

from typing import Annotated

from fastapi import Security

from contracts.notifications import SendTestMail
from gateway.adapters.free_commit.models import Environment
from gateway.dependencies import State, admin
from gateway.errors import READ_ERRORS, errors
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import free_commit_router
from libs.eventstore.decider import Actor

router = free_commit_router("/api/admin/config", "Server")


@router.get(
    "/env",
    summary="Get settings under Free Commit's names. `max.parallel.executor` is null: each runner has its own limit.",
    responses=errors(*READ_ERRORS),
)
async def get_config_env(_user: Annotated[Actor, Security(admin, scopes=["SERVER_READ"])], state: State) -> Environment:
    settings = state.settings
    return {
        "max.parallel.executor": None,
        "default.admin.username": settings.admin_username,
        "jwt.life-time": str(settings.token_seconds),
        "mail.from": settings.mail.sender,
        "mail.host": settings.mail.host or None,
        "mail.port": str(settings.mail.port),
    }


forward(
    router,
    "POST",
    "/mail/test/{recipient}",
    SendTestMail,
    Annotated[Actor, Security(admin, scopes=["SERVER_WRITE"])],
    "Send a test mail. Success means that it was queued, not that it was delivered.",
    errors=("MAIL_RECIPIENT_INVALID",),
)
