"""Launching a build: who may, with which settings, under which numbers."""

import asyncio
from uuid import uuid4

from contracts.builds import LaunchedProject, QueueBuild
from contracts.errors import Refused
from contracts.projects import GetLaunchSettings, LaunchSettings
from libs.service import Context

MAX_ATTEMPTS = 3


async def prepare_build(ctx: Context, command: QueueBuild) -> QueueBuild:
    project_id = command.project_id
    answer, build_id, local_id = await asyncio.gather(
        ctx.ask(GetLaunchSettings(project_id=project_id)),
        ctx.next_id("build"),
        ctx.next_id(f"build of project {project_id}"),
    )
    settings = LaunchSettings.model_validate(answer)
    actor = ctx.cause.actor
    if not (settings.allowed or command.delivery_id):  # a push was allowed when its delivery was accepted
        raise Refused("LAUNCH_BUILD_NOT_ALLOWED")
    return command.but(
        build_id=build_id,
        local_id=local_id,
        executor_id=command.delivery_id or str(uuid4()),
        queued_at=ctx.cause.at,
        project=LaunchedProject.model_validate(settings.model_dump(include=set(LaunchedProject.model_fields))),
        initiator_id=actor.id,
        initiator_name=actor.name,
        timeout_seconds=ctx.settings.build_timeout_seconds,
        max_attempts=MAX_ATTEMPTS,
    )
