"""Free Commit's routes that are more than one message, or none at all."""

import asyncio
import contextlib

from pydantic_core import to_json
from starlette.responses import Response

from contracts.builds import BuildRow, BuildStatus, GetBuild, KillBuild, ListBuildsOfProject, LogSection, ReadLog
from contracts.errors import Refused
from contracts.messages import Done
from contracts.projects import GetLaunchSettings
from gateway.asked import Asked
from gateway.dialects.free_commit import BUILDS, LOG, Environment, User

NO_BUILDS = b"[]"
CLEANUP_PATIENCE = 20.0  # seconds that a kill waits for the clean-up, which then goes on without it


async def ping(_asked: Asked) -> Response:
    return Response()


async def user_info(asked: Asked) -> Response:
    """As identity has it now, not as the token says."""
    user = User(id=asked.actor.id, username=asked.actor.name, roles=asked.actor.roles)
    return Response(user.model_dump_json(), media_type="application/json")


async def config_env(asked: Asked) -> Response:
    """Settings by the names that Free Commit gives them; how many builds run at once is each runner's own affair."""
    settings = asked.world.settings
    known: Environment = {
        "max.parallel.executor": None,
        "default.admin.username": settings.admin_username,
        "jwt.life-time": str(settings.token_seconds),
        "mail.from": settings.mail.sender,
        "mail.host": settings.mail.host or None,
        "mail.port": str(settings.mail.port),
    }
    return Response(to_json(known), media_type="application/json")


async def builds_of_project(asked: Asked) -> Response:
    """The builds of a deleted project go a little later than itself, so whether it is there is asked as well."""
    message = ListBuildsOfProject(project_id=asked.captured["project_id"])
    answer = await asked.send(message)
    try:
        await asked.send(GetLaunchSettings(project_id=message.project_id))
    except Refused as refused:
        if refused.code == "PROJECT_NOT_FOUND" or answer == NO_BUILDS:
            raise
    return Response(BUILDS(answer, asked, message), media_type="application/json")


async def log_of_build(asked: Asked) -> Response:
    """The section after this one, "-1" for the first. A long one comes in several messages and goes out in one."""
    message = ReadLog(**asked.captured)
    part = LogSection.model_validate_json(await asked.send(message))
    texts = [part.log]
    while part.more:
        part = LogSection.model_validate_json(await asked.send(message.but(line_number=part.lines)))
        texts.append(part.log)
    whole = part.but(log="\n".join(texts)).model_dump_json().encode()
    return Response(LOG(whole, asked, message), media_type=LOG.media)


async def kill(asked: Asked) -> Response:
    """Answers when the build has cleaned up, or has tried to for long."""
    executor_id = asked.captured["executor_id"]
    killed = Done.model_validate_json(await asked.send(KillBuild(executor_id=executor_id)))
    if killed.row.get("status") == BuildStatus.CANCELING:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLEANUP_PATIENCE):
                await _over(asked, executor_id)
    return Response(status_code=204)


async def _over(asked: Asked, executor_id: str) -> None:
    """Wait for the end of a killed build. It is recorded that it is to end: not to see it is no failure."""
    pause = 0.02
    while not asked.world.closing.is_set():
        try:
            if BuildRow.model_validate_json(await asked.send(GetBuild(executor_id=executor_id))).finished:
                return
        except Refused as refused:
            if refused.code == "EXECUTOR_NOT_FOUND":
                return  # over, and its project keeps no builds
        await asyncio.sleep(pause := min(2 * pause, 0.5))
