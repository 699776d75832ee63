"""Artifacts of jobs and their logs, as GitFlic has them: both are files with an address to fetch them from."""

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
    fileType: str = Field(validation_alias="artifact_type", description="`trace` is the log")  # noqa: N815
    downloadUrl: str = Field(validation_alias="download_url")  # noqa: N815

    @model_validator(mode="before")
    @classmethod
    def _add_download_url(cls, row: Any, info: ValidationInfo) -> Any:
        """Below the project that was asked of."""
        asked = info.context
        assert isinstance(asked, RequestContext)  # noqa: S101  every page is written for somebody
        below = asked.path.partition("/cicd/")[0]
        place = f"/api{below}/cicd/job/{row['job_local_id']}/artifact/{row['id']}/download"
        return {**row, "download_url": asked.state.settings.url + place}


FILE_PAGE = create_slice_writer(File, "restPipelineJobArtifactModelList")


async def find_job_files(asked: RequestContext) -> Mapping[str, Any]:
    _, project_id = await authorize_project(asked)
    return {"project_id": project_id, "job_local_id": asked.path_params["job_local_id"]}


async def find_build_files(asked: RequestContext) -> Mapping[str, Any]:
    _, project_id = await authorize_project(asked)
    return {"project_id": project_id, "build_local_id": asked.path_params["build_local_id"]}


async def file(asked: RequestContext) -> Response:
    """To be saved."""
    of = ListJobFiles.model_validate({**await find_job_files(asked), "size": MAX_PAGE_SIZE})
    page = Page.model_validate_json(await asked.send(of))
    found = next((row for row in page.rows if row["id"] == asked.path_params["artifact_uuid"].lower()), None)
    if found is None:
        raise RequestRejected("ARTIFACT_NOT_FOUND")
    wanted = JobFile.model_validate(found)
    if wanted.artifact_type == TRACE_TYPE:
        return await send_log_file(asked.state, wanted)
    return await send_artifact(asked.state, asked.scope, wanted)
