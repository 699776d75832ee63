"""Artifacts of jobs and their logs, as GitFlic has them: both are files with an address to fetch them from."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationInfo, model_validator
from starlette.responses import Response

from contracts.builds import TRACE, FileOfJob, ListFiles
from contracts.errors import Refused
from contracts.messages import Page
from gateway.asked import Asked
from gateway.dialects.gitflic.owners import project
from gateway.dialects.gitflic.pages import LARGEST_SIZE, page_of
from gateway.downloads import download, download_log
from gateway.writing import Shape


class File(Shape):
    id: str
    fileName: str = Field(validation_alias="file_name")  # noqa: N815  GitFlic's own names
    fileType: str = Field(validation_alias="artifact_type", description="`trace` is the log")  # noqa: N815
    downloadUrl: str = Field(validation_alias="download_url")  # noqa: N815

    @model_validator(mode="before")
    @classmethod
    def _addressed(cls, row: Any, info: ValidationInfo) -> Any:
        """Below the project that was asked of."""
        asked = info.context
        assert isinstance(asked, Asked)  # noqa: S101  every page is written for somebody
        below = asked.path.partition("/cicd/")[0]
        place = f"/api{below}/cicd/job/{row['job_local_id']}/artifact/{row['id']}/download"
        return {**row, "download_url": asked.world.settings.url + place}


FILE_PAGE = page_of(File, "restPipelineJobArtifactModelList")


async def of_job(asked: Asked) -> Mapping[str, Any]:
    _, project_id = await project(asked)
    return {"project_id": project_id, "job_local_id": asked.captured["job_local_id"]}


async def of_build(asked: Asked) -> Mapping[str, Any]:
    _, project_id = await project(asked)
    return {"project_id": project_id, "build_local_id": asked.captured["build_local_id"]}


async def file(asked: Asked) -> Response:
    """To be saved."""
    of = ListFiles.model_validate({**await of_job(asked), "size": LARGEST_SIZE})
    page = Page.model_validate_json(await asked.send(of))
    found = next((row for row in page.rows if row["id"] == asked.captured["artifact_uuid"].lower()), None)
    if found is None:
        raise Refused("ARTIFACT_NOT_FOUND")
    wanted = FileOfJob.model_validate(found)
    if wanted.artifact_type == TRACE:
        return await download_log(asked.world, wanted)
    return await download(asked.world, asked.scope, wanted)
