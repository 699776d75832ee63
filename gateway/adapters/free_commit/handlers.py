"""Handlers of Free Commit's routes that send no message to a service, or more than one."""

import asyncio
import contextlib

from pydantic_core import to_json
from starlette.responses import Response

from contracts.builds import BuildRow, BuildStatus, GetBuild, GetLogSection, KillBuild, ListProjectBuilds, LogSection
from contracts.errors import RequestRejected
from contracts.messages import CommandReply
from contracts.projects import GetLaunchSettings
from gateway.adapters.free_commit.models import BUILDS, LOG, Environment, User
from gateway.context import RequestContext

EMPTY_LIST = b"[]"
CLEANUP_TIMEOUT_SECONDS = 20.0  # longest wait for a canceled build's cleanup, which continues after the response


async def ping(_context: RequestContext) -> Response:
    """Respond with an empty body, as proof that the gateway runs."""
    return Response()


async def get_user_info(context: RequestContext) -> Response:
    """Get the user of the token, with the current roles."""
    user = User(id=context.actor.id, username=context.actor.name, roles=context.actor.roles)
    return Response(user.model_dump_json(), media_type="application/json")


async def get_config_env(context: RequestContext) -> Response:
    """Get settings under Free Commit's names. `max.parallel.executor` is null: each runner has its own limit."""
    settings = context.state.settings
    environment: Environment = {
        "max.parallel.executor": None,
        "default.admin.username": settings.admin_username,
        "jwt.life-time": str(settings.token_seconds),
        "mail.from": settings.mail.sender,
        "mail.host": settings.mail.host or None,
        "mail.port": str(settings.mail.port),
    }
    return Response(to_json(environment), media_type="application/json")


async def list_project_builds(context: RequestContext) -> Response:
    """List the finished builds of a project.

    Raises PROJECT_NOT_FOUND for a deleted project, even if its builds are not deleted yet.
    """
    message = ListProjectBuilds(project_id=context.path_params["project_id"])
    answer = await context.send(message)
    try:
        await context.send(GetLaunchSettings(project_id=message.project_id))
    except RequestRejected as rejection:
        if rejection.code == "PROJECT_NOT_FOUND" or answer == EMPTY_LIST:
            raise
    return Response(BUILDS(answer, context, message), media_type="application/json")


async def get_build_log(context: RequestContext) -> Response:
    """Get the log section after `step`; `-1` gives the first section. Long sections are read in several messages."""
    message = GetLogSection(**context.path_params)
    part = LogSection.model_validate_json(await context.send(message))
    texts = [part.log]
    while part.more:
        part = LogSection.model_validate_json(await context.send(message.replace(line_number=part.lines)))
        texts.append(part.log)
    section = part.replace(log="\n".join(texts)).model_dump_json().encode()
    return Response(LOG(section, context, message), media_type=LOG.media)


async def kill_build(context: RequestContext) -> Response:
    """Cancel a build and wait for its cleanup, at most CLEANUP_TIMEOUT_SECONDS."""
    executor_id = context.path_params["executor_id"]
    reply = CommandReply.model_validate_json(await context.send(KillBuild(executor_id=executor_id)))
    if reply.row.get("status") == BuildStatus.CANCELING:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLEANUP_TIMEOUT_SECONDS):
                await _wait_until_finished(context, executor_id)
    return Response(status_code=204)


async def _wait_until_finished(context: RequestContext, executor_id: str) -> None:
    """Poll until a canceled build is finished. The cancellation is recorded already, so errors are ignored."""
    delay = 0.02
    while not context.state.shutting_down.is_set():
        try:
            if BuildRow.model_validate_json(await context.send(GetBuild(executor_id=executor_id))).finished:
                return
        except RequestRejected as rejection:
            if rejection.code == "EXECUTOR_NOT_FOUND":
                return  # the build finished and was deleted by the project's retention limit
        await asyncio.sleep(delay := min(2 * delay, 0.5))
