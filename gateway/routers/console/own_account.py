"""Routes that change a user's own password and e-mail address. They require the current password."""

from typing import Annotated, Any

from fastapi import Security
from starlette.responses import Response

from contracts.errors import RequestRejected
from contracts.identity import ChangeEmail, ChangePassword, LogIn
from gateway.context import AppState
from gateway.dependencies import Bus, ClientIp, any_user
from gateway.errors import COOKIES, READ_ERRORS, WRITES, errors
from gateway.forwarding.forward import build_message
from gateway.routers.prefix_router import json_router
from gateway.schemas.console.account import OwnEmailRequest, OwnPasswordRequest
from libs.eventstore.decider import Actor

LOGIN_TIMEOUT_SECONDS = 10.0  # password hashing is slow on purpose
ACCOUNT_ERRORS = (*READ_ERRORS, *COOKIES, *WRITES, "PASSWORD_WRONG")

Owner = Annotated[Actor, Security(any_user)]  # no scope: a personal token must not change the password or the address
PasswordBody: Any = OwnPasswordRequest
EmailBody: Any = OwnEmailRequest

router = json_router("/api/user", "Access")


@router.patch(
    "/password",
    status_code=204,
    summary="Change the user's own password. It ends all sessions and revokes all personal tokens of the user.",
    responses=errors(*ACCOUNT_ERRORS, "DEVELOPER_PASSWORD_REQUIRED", "DEVELOPER_PASSWORD_WEAK"),
)
async def change_own_password(body: PasswordBody, user: Owner, ip_address: ClientIp, bus: Bus) -> Response:
    await check_password(bus.state, user, body.current_password, ip_address)
    await bus.send(build_message(ChangePassword, {"user_id": user.id, "password": body.password}), user)
    return Response(status_code=204)


@router.patch(
    "/email",
    status_code=204,
    summary="Change the user's own e-mail address; null removes it.",
    responses=errors(*ACCOUNT_ERRORS, "DEVELOPER_EMAIL_INVALID", "DEVELOPER_EMAIL_TAKEN"),
)
async def change_own_email(body: EmailBody, user: Owner, ip_address: ClientIp, bus: Bus) -> Response:
    await check_password(bus.state, user, body.current_password, ip_address)
    await bus.send(build_message(ChangeEmail, {"user_id": user.id, "email": body.email}), user)
    return Response(status_code=204)


async def check_password(state: AppState, user: Actor, password: str, ip_address: str) -> None:
    """Check the user's current password. A wrong one counts as a failed sign-in.

    Raises PASSWORD_WRONG, and TOO_MANY_REQUESTS after too many failed sign-ins.
    """
    command = build_message(LogIn, {"username": user.name, "password": password, "ip_address": ip_address})
    try:
        await state.bus.send(command, timeout=LOGIN_TIMEOUT_SECONDS)
    except RequestRejected as rejected:
        if rejected.code == "UNAUTHORIZED":
            raise RequestRejected("PASSWORD_WRONG") from None
        raise
