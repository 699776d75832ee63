"""Routes by which runners register, check and replace their tokens, and unregister."""

from datetime import UTC

from starlette.responses import Response

from contracts.errors import RequestRejected
from contracts.identity import TokenScope
from contracts.runners import DeleteRunner, GetRunner, ResetRunnerToken, RunnerRegistration, RunnerView
from gateway.adapters.gitflic.runner_registration import REGISTRATION_PATH, GitFlicRegistrationRequest
from gateway.adapters.gitlab.protocol_models import RegisterRunnerRequest, RunnerCredentials, RunnerTokenRequest
from gateway.adapters.gitlab.runner_authentication import authenticate_runner, runner_token_of
from gateway.auth import Role
from gateway.context import AppState
from gateway.dependencies import ClientIp, State
from gateway.routers.gitlab.protocol import PrivateToken, RunnerToken, also_form, runner_errors, runner_router
from gateway.schemas.path_parameters import RunnerId
from libs.eventstore.decider import Actor, runner_actor

router = runner_router("/api/v4/runners")
gitflic_registration = runner_router(REGISTRATION_PATH)


@router.post(
    "",
    status_code=201,
    summary="Register a runner with a registration token.",
    responses=runner_errors("FORBIDDEN", "REQUEST_MALFORMED", "REQUEST_INVALID"),
    openapi_extra=also_form(RegisterRunnerRequest),
)
async def register_runner(body: RegisterRunnerRequest, ip_address: ClientIp, state: State) -> RunnerCredentials:
    return _to_credentials(await _register(state, body, ip_address))


@gitflic_registration.post(
    "",
    status_code=201,
    response_model=RunnerCredentials,
    summary="Register a runner as GitLab's route does, with GitFlic's names of fields too.",
    responses=runner_errors("FORBIDDEN", "REQUEST_MALFORMED", "REQUEST_INVALID"),
    openapi_extra=also_form(GitFlicRegistrationRequest),
)
async def register_gitflic_runner(body: GitFlicRegistrationRequest, ip_address: ClientIp, state: State) -> Response:
    registration = await _register(state, body, ip_address)
    return Response(registration.model_dump_json(), 201, media_type="application/json")


@router.delete(
    "",
    status_code=204,
    summary="Delete a runner.",
    responses=runner_errors("FORBIDDEN", "REQUEST_MALFORMED"),
    openapi_extra=also_form(RunnerTokenRequest),
)
async def unregister_runner(body: RunnerTokenRequest, token: RunnerToken, ip_address: ClientIp, state: State) -> None:
    profile = await authenticate_runner(state, body, token, ip_address)
    await state.bus.send(DeleteRunner(runner_uuid=profile.runner_uuid), actor=runner_actor(profile.name))


@router.post(
    "/verify",
    summary="Check the token of a runner.",
    responses=runner_errors("FORBIDDEN", "REQUEST_MALFORMED"),
    openapi_extra=also_form(RunnerTokenRequest),
)
async def verify_runner(
    body: RunnerTokenRequest, token: RunnerToken, ip_address: ClientIp, state: State
) -> RunnerCredentials:
    profile = await authenticate_runner(state, body, token, ip_address)
    return RunnerCredentials(id=profile.runner_id, token=runner_token_of(body, token), token_expires_at=None)


@router.post(
    "/reset_authentication_token",
    status_code=201,
    summary="Replace the token of the runner that sends the request.",
    responses=runner_errors("FORBIDDEN", "REQUEST_MALFORMED"),
    openapi_extra=also_form(RunnerTokenRequest),
)
async def reset_token(
    body: RunnerTokenRequest, token: RunnerToken, ip_address: ClientIp, state: State
) -> RunnerCredentials:
    profile = await authenticate_runner(state, body, token, ip_address)
    return await _reset_token(state, profile.runner_uuid, runner_actor(profile.name))


@router.post(
    "/{runner_id:id}/reset_authentication_token",
    status_code=201,
    summary="Replace the token of any runner. Needs the token of an administrator.",
    responses=runner_errors("FORBIDDEN", "RUNNER_NOT_FOUND"),
)
async def reset_token_as_admin(runner_id: RunnerId, token: PrivateToken, state: State) -> RunnerCredentials:
    """Replace a runner's token in case it is lost."""
    try:
        actor = await state.authenticator.authenticate((token or "").strip(), Role.ADMIN, TokenScope.RUNNER_WRITE)
    except RequestRejected as rejection:
        if rejection.failure.status == 401:
            raise RequestRejected("FORBIDDEN", rejection.detail) from None  # runners expect 403, not 401
        raise
    runner = RunnerView.model_validate_json(await state.bus.query(GetRunner(runner_id=runner_id), actor=actor))
    return await _reset_token(state, runner.uuid, actor)


@router.delete(
    "/managers",
    status_code=204,
    summary="Unregister a machine that shares the token of a runner. The runner stays.",
    responses=runner_errors("FORBIDDEN", "REQUEST_MALFORMED"),
    openapi_extra=also_form(RunnerTokenRequest),
)
async def unregister_machine(body: RunnerTokenRequest, token: RunnerToken, ip_address: ClientIp, state: State) -> None:
    """Check the token. There is nothing to delete, because machines are not stored."""
    await authenticate_runner(state, body, token, ip_address)


async def _register(state: AppState, body: RegisterRunnerRequest, ip_address: str) -> RunnerRegistration:
    return RunnerRegistration.model_validate_json(await state.bus.send(body.to_command(ip_address)))


async def _reset_token(state: AppState, runner_uuid: str, actor: Actor) -> RunnerCredentials:
    answer = await state.bus.send(ResetRunnerToken(runner_uuid=runner_uuid), actor=actor)
    return _to_credentials(RunnerRegistration.model_validate_json(answer))


def _to_credentials(registration: RunnerRegistration) -> RunnerCredentials:
    expires_at = registration.token_expires_at
    text = expires_at and expires_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return RunnerCredentials(id=registration.id, token=registration.token, token_expires_at=text)
