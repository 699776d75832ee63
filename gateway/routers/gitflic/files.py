"""Artifacts and logs of jobs in GitFlic's API, addressed by the job's or build's number within its project."""

from functools import partial
from typing import Annotated

from fastapi import Depends, Request, Security
from starlette.responses import Response

from contracts.builds import TRACE_TYPE, JobFile, ListJobFiles
from contracts.errors import RequestRejected
from contracts.messages import Page
from gateway.adapters.gitflic.job_files import FILE_PAGE
from gateway.adapters.gitflic.ownership import Owner, find_readable_project
from gateway.adapters.gitflic.slices import read_slice_fields
from gateway.dependencies import Bus, gitflic_user
from gateway.errors import ANY_ROUTE, ROLES, errors
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import gitflic_router
from gateway.schemas.path_parameters import ArtifactUuid, JobLocalId
from gateway.streaming.downloads import BINARY_CONTENT, send_artifact, send_log_file
from libs.eventstore.decider import Actor

Reader = Annotated[Actor, Security(gitflic_user, scopes=["BUILD_READ"])]
Project = Annotated[Owner, Security(find_readable_project, scopes=["BUILD_READ"])]

router = gitflic_router("/api/project/{owner_alias}/{project_alias}/cicd", "Builds")


async def get_project_id(owner: Annotated[Owner, Depends(find_readable_project)]) -> int:
    return owner[1]


add_list = partial(
    forward,
    router,
    "GET",
    message=ListJobFiles,
    user=Reader,
    summary="List the files of the job, or of all jobs of the build: artifacts, and the log with type `trace`.",
    response=FILE_PAGE,
    fields=(Depends(read_slice_fields),),
    project_id=Annotated[int, Security(get_project_id, scopes=["BUILD_READ"])],
)
add_list("/job/{job_local_id:id}/artifacts", errors=("JOB_NOT_FOUND",))
add_list("/pipeline/{build_local_id:id}/artifacts", errors=("BUILD_NOT_FOUND",))


@router.get(
    "/job/{job_local_id:id}/artifact/{artifact_uuid}/download",
    response_class=Response,
    summary="Download the file.",
    responses={
        **BINARY_CONTENT,
        **errors(*ROLES, *ANY_ROUTE, "NOT_FOUND", "PROJECT_NOT_FOUND", "JOB_NOT_FOUND", "ARTIFACT_NOT_FOUND"),
    },
)
async def download_file(
    user: Reader,
    owner: Project,
    job_local_id: JobLocalId,
    artifact_uuid: ArtifactUuid,
    bus: Bus,
    request: Request,
) -> Response:
    query = ListJobFiles(project_id=owner[1], job_local_id=job_local_id)
    page = Page.model_validate_json(await bus.send(query, user))
    file_row = next((row for row in page.rows if row["id"] == artifact_uuid.lower()), None)
    if file_row is None:
        raise RequestRejected("ARTIFACT_NOT_FOUND")
    file = JobFile.model_validate(file_row)
    if file.artifact_type == TRACE_TYPE:
        return await send_log_file(bus.state.bus, file, user)
    return await send_artifact(bus.state.bus, request.scope, file, user)
