"""Job artifacts and logs in GitFlic's API: both are files with a download URL."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationInfo, model_validator
from starlette.responses import Response

from contracts.builds import TRACE_TYPE, JobFile, ListJobFiles
from contracts.errors import RequestRejected
from contracts.messages import Page
from gateway.adapters.gitflic.ownership import authorize_project
from gateway.adapters.gitflic.slices import MAX_PAGE_SIZE, create_slice_writer
from gateway.context import RequestContext
from gateway.framework.serializers import Shape
from gateway.streaming.downloads import send_artifact, send_log_file


class File(Shape):
    id: str
    fileName: str = Field(validation_alias="file_name")  # noqa: N815  GitFlic's own names
    fileType: str = Field(validation_alias="artifact_type", description="`trace` for the log")  # noqa: N815
    downloadUrl: str = Field(validation_alias="download_url")  # noqa: N815

    @model_validator(mode="before")
    @classmethod
    def _add_download_url(cls, row: Any, info: ValidationInfo) -> Any:
        """Return the row with its download URL, which begins with the project's path in the request URL."""
        context = info.context
        assert isinstance(context, RequestContext)  # noqa: S101  the writer sets it
        project_path = context.path.partition("/cicd/")[0]
        path = f"/api{project_path}/cicd/job/{row['job_local_id']}/artifact/{row['id']}/download"
        return {**row, "download_url": context.state.settings.url + path}


FILE_PAGE = create_slice_writer(File, "restPipelineJobArtifactModelList")


async def find_job_files(context: RequestContext) -> Mapping[str, Any]:
    """Return the project's id and the job's number for the path. Raises PROJECT_NOT_FOUND or FORBIDDEN."""
    _, project_id = await authorize_project(context)
    return {"project_id": project_id, "job_local_id": context.path_params["job_local_id"]}


async def find_build_files(context: RequestContext) -> Mapping[str, Any]:
    """Return the project's id and the build's number for the path. Raises PROJECT_NOT_FOUND or FORBIDDEN."""
    _, project_id = await authorize_project(context)
    return {"project_id": project_id, "build_local_id": context.path_params["build_local_id"]}


async def download_file(context: RequestContext) -> Response:
    """Send an artifact or log as a download. Raises ARTIFACT_NOT_FOUND."""
    query = ListJobFiles.model_validate({**await find_job_files(context), "size": MAX_PAGE_SIZE})
    page = Page.model_validate_json(await context.send(query))
    file_row = next((row for row in page.rows if row["id"] == context.path_params["artifact_uuid"].lower()), None)
    if file_row is None:
        raise RequestRejected("ARTIFACT_NOT_FOUND")
    file = JobFile.model_validate(file_row)
    if file.artifact_type == TRACE_TYPE:
        return await send_log_file(context.state, file)
    return await send_artifact(context.state, context.scope, file)
