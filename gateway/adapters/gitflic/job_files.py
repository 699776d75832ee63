"""Job artifacts and logs in GitFlic's API: both are files with a download URL."""

from typing import Any

from pydantic import Field, ValidationInfo, model_validator

from gateway.adapters.gitflic.slices import create_slice_writer
from gateway.forwarding.serializers import ResponseContext, ResponseModel
from gateway.schemas.samples import UUID


class File(ResponseModel):
    id: str = Field(description="UUID of the file", examples=[UUID])
    fileName: str = Field(
        validation_alias="file_name", description="file name given by the job", examples=["artifacts.zip"]
    )
    fileType: str = Field(validation_alias="artifact_type", description="`trace` for the log", examples=["archive"])
    downloadUrl: str = Field(
        validation_alias="download_url",
        description="download URL; needs the same token",
        examples=[
            "https://ci.example.org/api/project/ivan/website/cicd/job/9/artifact/0e3f0a9c-7f7b-4b7e-9d57-0a6c0d0e4c11/download"
        ],
    )

    @model_validator(mode="before")
    @classmethod
    def _add_download_url(cls, row: Any, info: ValidationInfo) -> Any:
        """Return the row with its download URL, which begins with the project's path in the request URL."""
        context = info.context
        assert isinstance(context, ResponseContext)  # noqa: S101  the serializer sets it
        project_path = context.path.partition("/cicd/")[0]
        path = f"/api{project_path}/cicd/job/{row['job_local_id']}/artifact/{row['id']}/download"
        return {**row, "download_url": context.url + path}


FILE_PAGE = create_slice_writer(File, "restPipelineJobArtifactModelList")
