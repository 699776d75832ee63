"""Authentication of runners by their tokens."""

from contracts.runners import AuthenticateRunner, RunnerProfile
from gateway.adapters.gitlab.protocol_models import RunnerTokenRequest
from gateway.context import AppState
from gateway.forwarding.forward import build_message


async def authenticate_runner(
    state: AppState, body: RunnerTokenRequest, token: str | None, ip_address: str
) -> RunnerProfile:
    """Return the profile of the request's runner and record the contact. Raises RUNNER_TOKEN.

    `token`: the token in the header, which takes precedence over the one in the body.
    """
    info = body.info.to_runner_info() if body.info else None
    values = {"token": runner_token_of(body, token), "ip_address": ip_address, "info": info}
    command: AuthenticateRunner = build_message(AuthenticateRunner, values)
    return RunnerProfile.model_validate_json(await state.bus.send(command))


def runner_token_of(body: RunnerTokenRequest, token: str | None) -> str:
    return (token or "").strip() or body.token
