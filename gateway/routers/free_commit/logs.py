"""Routes of build logs, section by section. The route of a job's whole log is in gateway/routers/jobs.py."""

from typing import Annotated

from fastapi import Path, Security
from starlette.responses import Response

from contracts.builds import GetLiveLog, GetLogSection, LogSection
from contracts.errors import RequestRejected
from gateway.adapters.free_commit.build_models import LIVE_LOG, LOG
from gateway.dependencies import Bus, developer
from gateway.errors import READ_ERRORS, errors
from gateway.routers.prefix_router import free_commit_router
from gateway.schemas.loose_types import MAX_ID
from gateway.schemas.path_parameters import BuildId, BuildUuid, Step
from libs.eventstore.decider import Actor

Reader = Annotated[Actor, Security(developer, scopes=["BUILD_READ"])]
router = free_commit_router("/api/developer/logs", "Logs")


# `step` is a path, because step names may contain slashes
@router.get(
    "/{build_id:id}/{step:path}",
    response_model=LOG.model,
    summary="Get the section of a finished build's log that follows the given one; `-1` gets the first.",
    responses=errors(*READ_ERRORS, "NOT_FOUND", "BUILD_NOT_FOUND", "LOG_NOT_FOUND"),
)
async def get_build_log(build_id: BuildId, step: Step, user: Reader, bus: Bus) -> Response:
    """Get the log section after `step`. Long sections are read in several messages."""
    message = GetLogSection(build_id=build_id, step=step)
    part = LogSection.model_validate_json(await bus.send(message, user))
    texts = [part.log]
    while part.more:
        answer = await bus.send(message.replace(line_number=part.lines), user)
        part = LogSection.model_validate_json(answer)
        texts.append(part.log)
    section = part.replace(log="\n".join(texts)).model_dump_json().encode()
    return Response(LOG(section, bus.response_context, message), media_type=LOG.media_type)


@router.get(
    "/{executor_id}/{step:path}/{line_number}",
    response_model=LIVE_LOG.model,
    summary="Get the next lines of a build that is queued, runs, or finished at most 10 s ago.",
    responses=errors(
        *READ_ERRORS, "NOT_FOUND", "EXECUTOR_NOT_FOUND", "REQUEST_MALFORMED", "BUILD_NOT_FOUND", "LOG_NOT_FOUND"
    ),
)
async def get_live_log(
    executor_id: BuildUuid,
    step: Step,
    line_number: Annotated[
        str, Path(description="number of lines of the section read so far; 0 at first", min_length=1, examples=["0"])
    ],
    user: Reader,
    bus: Bus,
) -> Response:
    if not (line_number.isascii() and line_number.isdigit() and len(line_number) < 19 and int(line_number) <= MAX_ID):
        raise RequestRejected("REQUEST_MALFORMED", "The line number must be a whole number from 0.")
    message = GetLiveLog(executor_id=executor_id, step=step, line_number=int(line_number))
    return await bus.respond(message, user, LIVE_LOG)
