"""Artifacts of jobs, for people."""

from pydantic import Field
from starlette.responses import Response

from contracts.builds import GetJob, JobRow
from contracts.errors import Refused
from gateway.asked import Asked
from gateway.downloads import BINARY, download
from gateway.writing import Moment, Shape, as_it_is, shaped


class Artifact(Shape):
    id: str
    artifact_type: str
    artifact_format: str
    file_name: str
    size: int = Field(description="bytes")
    uploaded_at: Moment
    expire_at: Moment | None


ARTIFACTS = shaped(list[Artifact], under="artifacts")
FILE = as_it_is(bytes, BINARY)


async def artifact(asked: Asked) -> Response:
    """The file itself, to be saved."""
    job = JobRow.model_validate_json(await asked.send(GetJob(job_id=asked.captured["job_id"])))
    found = next((one for one in job.artifacts if one.id == asked.captured["artifact_id"]), None)
    if found is None:
        raise Refused("ARTIFACT_NOT_FOUND")
    return await download(asked.world, asked.scope, found)
