"""Free Commit's routes that are more than one message, or none at all."""

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
CLEANUP_TIMEOUT_SECONDS = 20.0  # seconds that a kill waits for the clean-up, which then goes on without it


async def ping(_asked: RequestContext) -> Response:
    return Response()


async def user_info(asked: RequestContext) -> Response:
    """As identity has it now, not as the token says."""
    user = User(id=asked.actor.id, username=asked.actor.name, roles=asked.actor.roles)
    return Response(user.model_dump_json(), media_type="application/json")


async def get_config_env(asked: RequestContext) -> Response:
    """Settings by the names that Free Commit gives them; how many builds run at once is each runner's own affair."""
    settings = asked.state.settings
    known: Environment = {
        "max.parallel.executor": None,
        "default.admin.username": settings.admin_username,
        "jwt.life-time": str(settings.token_seconds),
        "mail.from": settings.mail.sender,
        "mail.host": settings.mail.host or None,
        "mail.port": str(settings.mail.port),
    }
    return Response(to_json(known), media_type="application/json")


async def builds_of_project(asked: RequestContext) -> Response:
    """The builds of a deleted project go a little later than itself, so whether it is there is asked as well."""
    message = ListProjectBuilds(project_id=asked.path_params["project_id"])
    answer = await asked.send(message)
    try:
        await asked.send(GetLaunchSettings(project_id=message.project_id))
    except RequestRejected as refused:
        if refused.code == "PROJECT_NOT_FOUND" or answer == EMPTY_LIST:
            raise
    return Response(BUILDS(answer, asked, message), media_type="application/json")


async def log_of_build(asked: RequestContext) -> Response:
    """The section after this one, "-1" for the first. A long one comes in several messages and goes out in one."""
    message = GetLogSection(**asked.path_params)
    part = LogSection.model_validate_json(await asked.send(message))
    texts = [part.log]
    while part.more:
        part = LogSection.model_validate_json(await asked.send(message.replace(line_number=part.lines)))
        texts.append(part.log)
    whole = part.replace(log="\n".join(texts)).model_dump_json().encode()
    return Response(LOG(whole, asked, message), media_type=LOG.media)


async def kill(asked: RequestContext) -> Response:
    """Answers when the build has cleaned up, or has tried to for long."""
    executor_id = asked.path_params["executor_id"]
    killed = CommandReply.model_validate_json(await asked.send(KillBuild(executor_id=executor_id)))
    if killed.row.get("status") == BuildStatus.CANCELING:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLEANUP_TIMEOUT_SECONDS):
                await _wait_until_finished(asked, executor_id)
    return Response(status_code=204)


async def _wait_until_finished(asked: RequestContext, executor_id: str) -> None:
    """Wait for the end of a killed build. It is recorded that it is to end: not to see it is no failure."""
    pause = 0.02
    while not asked.state.shutting_down.is_set():
        try:
            if BuildRow.model_validate_json(await asked.send(GetBuild(executor_id=executor_id))).finished:
                return
        except RequestRejected as refused:
            if refused.code == "EXECUTOR_NOT_FOUND":
                return  # over, and its project keeps no builds
        await asyncio.sleep(pause := min(2 * pause, 0.5))
