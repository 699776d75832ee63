"""Artifacts of jobs, for people."""

from urllib.parse import parse_qs

from pydantic import Field
from starlette.responses import Response

from contracts.builds import GetJob, JobRow, ReadTrace
from contracts.errors import Refused
from gateway.asked import Asked
from gateway.downloads import BINARY, download, stream_log
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
LOG = as_it_is(str, "text/plain")
NOT_KEPT = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"}


async def log_of_attempt(asked: Asked) -> Response:
    """As it was written, without what was covered; of a job at work as much as there is."""
    said = parse_qs(asked.query.decode("latin-1")).get("attempt", ["0"])[-1]
    if not (said.isascii() and said.isdigit() and len(said) < 10):
        raise Refused("REQUEST_INVALID", "The attempt is a whole number from 1.")
    wanted = ReadTrace(job_id=asked.captured["job_id"], attempt=int(said))
    return await stream_log(asked.world, wanted, NOT_KEPT)


async def artifact(asked: Asked) -> Response:
    """The file itself, to be saved."""
    job = JobRow.model_validate_json(await asked.send(GetJob(job_id=asked.captured["job_id"])))
    found = next((one for one in job.artifacts if one.id == asked.captured["artifact_id"]), None)
    if found is None:
        raise Refused("ARTIFACT_NOT_FOUND")
    return await download(asked.world, asked.scope, found)
