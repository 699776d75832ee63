"""Routes of builds in Free Commit's API: launch, lists, cancellation, priority and deletion."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import Depends, Request, Security
from starlette.responses import Response

from contracts.builds import (
    BuildRow,
    BuildStatus,
    ChangeBuildPriority,
    DeleteBuild,
    GetBuild,
    GetBuildOutput,
    KillBuild,
    ListProjectBuilds,
    ListQueuedBuilds,
    ListRunningBuilds,
    QueueBuild,
)
from contracts.errors import RequestRejected
from contracts.messages import CommandReply
from contracts.projects import GetLaunchSettings
from gateway.adapters.free_commit.build_models import BUILDS, EXECUTEDS, LAUNCHED, ONE_BUILD, OUTPUT, QUEUEDS
from gateway.adapters.free_commit.request_fields import BUILD_CHANGE
from gateway.auth import PERSONAL_TOKEN
from gateway.dependencies import Bus, IdempotentBus, State, admin, developer
from gateway.errors import READ_ERRORS, WRITE_ERRORS, RespondInstead, errors
from gateway.forwarding.changes import forward_change
from gateway.forwarding.forward import forward
from gateway.forwarding.request_bus import RequestBus
from gateway.http.session_cookie import read_request_token
from gateway.routers.prefix_router import free_commit_router
from gateway.schemas.build_launch import BUILD
from gateway.schemas.path_parameters import BuildUuid, ProjectId
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import ReturnMessage

CLIENT_PREFIX = "/api-free-commit/"
EMPTY_LIST = b"[]"
MAX_QUEUED, MAX_RUNNING = 10_000, 1000  # limits of the lists of the oldest builds, which clients read often
CLEANUP_TIMEOUT_SECONDS = 20.0  # maximum wait for a canceled build's cleanup, which continues after the response

Reader = Annotated[Actor, Security(developer, scopes=["BUILD_READ"])]
Launcher = Annotated[Actor, Security(developer, scopes=["BUILD_WRITE"])]
AdminWriter = Annotated[Actor, Security(admin, scopes=["BUILD_WRITE"])]

developers = free_commit_router("/api/developer/builds", "Builds")
admins = free_commit_router("/api/admin/builds", "Builds")


async def get_launch_source(request: Request, state: State) -> Literal["api", "web"]:
    """Return the launch source of a build: `api` for personal tokens, which scripts use, `web` for login tokens."""
    return "api" if PERSONAL_TOKEN.fullmatch(read_request_token(request, state.settings)) else "web"


async def empty_list_on_outage(request: Request) -> AsyncIterator[None]:
    """In an outage, give Free Commit's clients an empty list: errors break its web page, which polls these lists."""
    try:
        yield
    except RequestRejected as rejection:
        if rejection.failure.status >= 500 and request.scope["requested_path"].startswith(CLIENT_PREFIX):
            raise RespondInstead(Response(EMPTY_LIST, media_type="application/json")) from rejection
        raise


forward(
    developers,
    "POST",
    "/{project_id:id}",
    QueueBuild,
    Launcher,
    "Launch a build of the latest commit of the project's branch, or of another branch.",
    body=BUILD,
    response=LAUNCHED,
    errors=("LAUNCH_BUILD_NOT_ALLOWED",),
    source=Annotated[str, Depends(get_launch_source)],
)


@developers.get(
    "/queueds",
    response_model=QUEUEDS.model,
    summary="List queued builds, oldest first, each with the reason why it waits.",
    responses=errors(*READ_ERRORS),
    dependencies=[Depends(empty_list_on_outage)],
)
async def list_queued_builds(user: Reader, bus: Bus) -> Response:
    return await bus.respond(ListQueuedBuilds(limit=MAX_QUEUED), user, QUEUEDS)


@developers.get(
    "/executeds",
    response_model=EXECUTEDS.model,
    summary="List running builds, oldest first.",
    responses=errors(*READ_ERRORS),
    dependencies=[Depends(empty_list_on_outage)],
)
async def list_running_builds(user: Reader, bus: Bus) -> Response:
    return await bus.respond(ListRunningBuilds(limit=MAX_RUNNING), user, EXECUTEDS)


forward(developers, "GET", "/{build_id:id}", GetBuild, Reader, "Get a build and its status.", response=ONE_BUILD)


@developers.get(
    "/by/project/{project_id:id}",
    response_model=BUILDS.model,
    summary="List the project's finished builds, oldest first, without those canceled before the start.",
    responses=errors(*READ_ERRORS, "NOT_FOUND", "PROJECT_NOT_FOUND"),
)
async def list_project_builds(project_id: ProjectId, user: Reader, bus: Bus) -> Response:
    """List the finished builds of a project. A deleted project is not found, even if its builds are not deleted yet."""
    message = ListProjectBuilds(project_id=project_id)
    answer = await bus.send(message, user)
    try:
        await bus.send(GetLaunchSettings(project_id=project_id), user)
    except RequestRejected as rejection:
        if rejection.code == "PROJECT_NOT_FOUND" or answer == EMPTY_LIST:
            raise
    return Response(BUILDS(answer, bus.response_context, message), media_type="application/json")


forward(
    developers,
    "GET",
    "/output/{executor_id}",
    GetBuildOutput,
    Reader,
    "Get the output of an unfinished build: a note until the build starts, then nothing.",
    response=OUTPUT,
)


@developers.delete(
    "/kill/queued/{executor_id}",
    status_code=204,
    summary="Cancel a queued or running build. The response waits up to 20 s for a running build to clean up.",
    responses=errors(*WRITE_ERRORS, "NOT_FOUND", "EXECUTOR_NOT_FOUND"),
)
@developers.delete(
    "/kill/executed/{executor_id}",
    status_code=204,
    summary="Cancel a queued or running build. The response waits up to 20 s for a running build to clean up.",
    responses=errors(*WRITE_ERRORS, "NOT_FOUND", "EXECUTOR_NOT_FOUND"),
)
async def kill_build(executor_id: BuildUuid, user: Launcher, bus: IdempotentBus) -> Response:
    """The cleanup of a running build continues after the response if it takes longer than 20 s."""
    reply = CommandReply.model_validate_json(await bus.send(KillBuild(executor_id=executor_id), user))
    if reply.row.get("status") == BuildStatus.CANCELING:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLEANUP_TIMEOUT_SECONDS):
                await _wait_until_finished(bus, user, executor_id)
    return Response(status_code=204)


async def _wait_until_finished(bus: RequestBus, user: Actor, executor_id: str) -> None:
    """Poll until a canceled build is finished. The cancellation is recorded already, so errors are ignored."""
    delay = 0.02
    while not bus.state.shutting_down.is_set():
        try:
            if BuildRow.model_validate_json(await bus.send(GetBuild(executor_id=executor_id), user)).finished:
                return
        except RequestRejected as rejection:
            if rejection.code == "EXECUTOR_NOT_FOUND":
                return  # the build finished and was deleted by the project's retention limit
        await asyncio.sleep(delay := min(2 * delay, 0.5))


forward_change(
    admins,
    "/{build_id:id}",
    "priority",
    ChangeBuildPriority,
    "Change the priority of an unfinished build's jobs in the queue.",
    body=BUILD_CHANGE,
    user=AdminWriter,
    reject_null=True,
    response=ONE_BUILD,
    return_message=ReturnMessage(GetBuild, "build_id"),
    errors=("BUILD_STATUS",),
)
forward(
    admins,
    "DELETE",
    "/{build_id:id}",
    DeleteBuild,
    AdminWriter,
    "Delete a finished build with its jobs, logs and artifacts.",
    status_code=204,
    errors=("BUILD_STATUS",),
)
