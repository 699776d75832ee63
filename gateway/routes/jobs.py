"""Jobs of builds, and the files that they left."""

from contracts.builds import GetJob
from gateway.dialects.artifacts import ARTIFACTS, FILE, artifact
from gateway.routing import own, query

JOBS = (
    query("/developer/jobs/{job_id:id}/artifacts", GetJob, write=ARTIFACTS, errors=("JOB_NOT_FOUND",)),
    own(
        "GET",
        "/developer/jobs/{job_id:id}/artifacts/{artifact_id}",
        artifact,
        write=FILE,
        errors=("JOB_NOT_FOUND", "ARTIFACT_NOT_FOUND"),
    ),
)
