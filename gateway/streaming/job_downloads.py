"""Artifacts of jobs, for people."""

from urllib.parse import parse_qs

from pydantic import Field
from starlette.responses import Response

from contracts.builds import GetJob, GetTrace, JobRow
from contracts.errors import RequestRejected
from gateway.context import RequestContext
from gateway.framework.serializers import Moment, Shape, as_it_is, shaped
from gateway.streaming.downloads import BINARY_MEDIA_TYPE, send_artifact, send_log


class Artifact(Shape):
    id: str
    artifact_type: str
    artifact_format: str
    file_name: str
    size: int = Field(description="bytes")
    uploaded_at: Moment
    expire_at: Moment | None


ARTIFACTS = shaped(list[Artifact], under="artifacts")
FILE = as_it_is(bytes, BINARY_MEDIA_TYPE)
LOG = as_it_is(str, "text/plain")
NO_STORE_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"}


async def read_job_log(asked: RequestContext) -> Response:
    """As it was written, without what was covered; of a job at work as much as there is."""
    said = parse_qs(asked.query.decode("latin-1")).get("attempt", ["0"])[-1]
    if not (said.isascii() and said.isdigit() and len(said) < 10):
        raise RequestRejected("REQUEST_INVALID", "The attempt is a whole number from 1.")
    wanted = GetTrace(job_id=asked.path_params["job_id"], attempt=int(said))
    return await send_log(asked.state, wanted, NO_STORE_HEADERS)


async def download_artifact(asked: RequestContext) -> Response:
    """The file itself, to be saved."""
    job = JobRow.model_validate_json(await asked.send(GetJob(job_id=asked.path_params["job_id"])))
    found = next((one for one in job.artifacts if one.id == asked.path_params["artifact_id"]), None)
    if found is None:
        raise RequestRejected("ARTIFACT_NOT_FOUND")
    return await send_artifact(asked.state, asked.scope, found)
