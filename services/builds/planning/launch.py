"""Launch of a build: permission check, project settings and numbers of LaunchBuild."""

import asyncio
from uuid import uuid4

from contracts.builds import LaunchedProject, QueueBuild
from contracts.errors import RequestRejected
from contracts.projects import GetLaunchSettings, LaunchSettings
from libs.service.declaration import Context
from services.builds.domain.internal_commands import LaunchBuild

MAX_JOB_ATTEMPTS = 3


async def prepare_launch(ctx: Context, command: QueueBuild) -> LaunchBuild:
    """Fetch the project's settings and allocate the numbers. Raises LAUNCH_BUILD_NOT_ALLOWED and PROJECT_NOT_FOUND."""
    project_id = command.project_id
    settings, build_id, local_id = await asyncio.gather(
        ctx.query(GetLaunchSettings(project_id=project_id), LaunchSettings),
        ctx.next_id("build"),
        ctx.next_id(f"build of project {project_id}"),
    )
    actor = ctx.metadata.actor
    # the permission of a push was checked when the webhook delivery was accepted
    if not (settings.allowed or command.delivery_id):
        raise RequestRejected("LAUNCH_BUILD_NOT_ALLOWED")
    return LaunchBuild(
        **dict(command),
        build_id=build_id,
        local_id=local_id,
        executor_id=command.delivery_id or str(uuid4()),
        queued_at=ctx.metadata.at,
        project=LaunchedProject.model_validate(settings.model_dump(include=set(LaunchedProject.model_fields))),
        initiator_id=actor.id,
        initiator_name=actor.name,
        timeout_seconds=ctx.settings.build_timeout_seconds,
        max_attempts=MAX_JOB_ATTEMPTS,
    )
