"""Downloads of a job's log and artifacts."""

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
    size: int = Field(description="size in bytes")
    uploaded_at: Moment
    expire_at: Moment | None


ARTIFACTS = shaped(list[Artifact], under="artifacts")
FILE = as_it_is(bytes, BINARY_MEDIA_TYPE)
LOG = as_it_is(str, "text/plain")
NO_STORE_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"}


async def read_job_log(context: RequestContext) -> Response:
    """Get the log of a job as text, with secrets masked. For a running job, get the log so far."""
    attempt = parse_qs(context.query.decode("latin-1")).get("attempt", ["0"])[-1]
    if not (attempt.isascii() and attempt.isdigit() and len(attempt) < 10):
        raise RequestRejected("REQUEST_INVALID", "attempt must be a whole number from 1.")
    query = GetTrace(job_id=context.path_params["job_id"], attempt=int(attempt))
    return await send_log(context.state, query, NO_STORE_HEADERS)


async def download_artifact(context: RequestContext) -> Response:
    """Download an artifact of a job."""
    job = JobRow.model_validate_json(await context.send(GetJob(job_id=context.path_params["job_id"])))
    artifact = next((artifact for artifact in job.artifacts if artifact.id == context.path_params["artifact_id"]), None)
    if artifact is None:
        raise RequestRejected("ARTIFACT_NOT_FOUND")
    return await send_artifact(context.state, context.scope, artifact)
