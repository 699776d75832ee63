"""Preparation of the launch of a build: permission check, the project's settings, and new ids."""

import asyncio
from uuid import uuid4

from contracts.builds import LaunchedProject, QueueBuild
from contracts.errors import RequestRejected
from contracts.projects import GetLaunchSettings, LaunchSettings, SupersededBuilds, Visibility
from libs.branch_names import BRANCH_REF_PREFIX, is_branch_name, is_pull_request_ref
from libs.launches.variable_rules import check_variables
from libs.service.declaration import Context
from services.builds.domain.internal_commands import LaunchBuild
from services.builds.planning.launch_variables import authorize_variables, reject_secret_names
from services.builds.queries.project_access import wait_until_private

MAX_JOB_ATTEMPTS = 3


async def prepare_launch(ctx: Context, command: QueueBuild) -> LaunchBuild:
    """Return the launch with the settings of the project, if the user may launch builds, and with new ids.

    Raises LAUNCH_BUILD_NOT_ALLOWED, PROJECT_NOT_FOUND, BUILD_REF_INVALID, codes that begin with BUILD_VARIABLES_, and
    SERVICE_UNAVAILABLE if the permissions of a private project are not known yet.
    """
    project_id = command.project_id
    check_variables(command.variables)
    if command.ref and not command.delivery_id:
        command = _choose_branch(command)
    settings, build_id, local_id = await asyncio.gather(
        ctx.query(GetLaunchSettings(project_id=project_id), LaunchSettings),
        ctx.next_id("build"),
        ctx.next_id(f"build of project {project_id}"),
    )
    actor = ctx.metadata.actor
    if command.schedule:  # the permission was checked when a maintainer of the project saved the schedule
        await reject_secret_names(ctx, project_id, command.variables)
    else:
        # the permission of a push was checked when the webhook delivery was accepted
        if not (settings.allowed or command.delivery_id):
            raise RequestRejected("LAUNCH_BUILD_NOT_ALLOWED")
        await authorize_variables(ctx, settings, command.ref, command.variables)
    if settings.visibility is Visibility.PRIVATE:
        await wait_until_private(ctx, project_id)
    return LaunchBuild(
        **dict(command),
        build_id=build_id,
        local_id=local_id,
        executor_id=command.delivery_id or str(uuid4()),
        queued_at=ctx.metadata.at,
        project=LaunchedProject.model_validate(settings.model_dump(include=set(LaunchedProject.model_fields))),
        initiator_id=actor.id,
        supersedes=_supersedes(command, settings),
        timeout_seconds=ctx.settings.build_timeout_seconds,
        max_attempts=MAX_JOB_ATTEMPTS,
    )


def _supersedes(command: QueueBuild, settings: LaunchSettings) -> SupersededBuilds:
    """Return which older builds the build cancels: only a push of a branch or of a pull request cancels any."""
    ref = command.ref or ""
    is_push = command.delivery_id is not None and (ref.startswith(BRANCH_REF_PREFIX) or is_pull_request_ref(ref))
    return settings.superseded_builds if is_push else SupersededBuilds.KEEP


def _choose_branch(command: QueueBuild) -> QueueBuild:
    """Return the launch of the latest commit of a branch.

    A user cannot choose the commit: one that is not part of a protected branch would get the branch's privileges.
    """
    return command.replace(ref=parse_branch(command.ref or ""), sha=None)


def parse_branch(ref: str) -> str:
    """Return `refs/heads/...` for a branch or its name. Raises BUILD_REF_INVALID."""
    branch = ref.removeprefix(BRANCH_REF_PREFIX)
    if not is_branch_name(branch):
        raise RequestRejected("BUILD_REF_INVALID")
    return f"{BRANCH_REF_PREFIX}{branch}"
