"""Jobs of builds, what people may wish of them, and the files that they left."""

from functools import partial

from contracts.builds import GetJob, ListJobsOfBuild, PlayJob, RetryBuild, RetryJob, StopJob
from gateway.dialects.artifacts import ARTIFACTS, FILE, LOG, artifact, log_of_attempt
from gateway.dialects.jobs import JOBS_OF_BUILD
from gateway.routing import command, own, query

LAUNCHER = "LAUNCH_BUILD_NOT_ALLOWED"
wish = partial(command, "POST", status=204, errors=("JOB_NOT_FOUND", "JOB_STATUS", "BUILD_STATUS", LAUNCHER))

JOBS = (
    query("/developer/builds/{build_id:id}/jobs", ListJobsOfBuild, write=JOBS_OF_BUILD),
    command("POST", "/developer/builds/{build_id:id}/retry", RetryBuild, status=204, errors=("BUILD_STATUS", LAUNCHER)),
    wish("/developer/jobs/{job_id:id}/play", message=PlayJob),
    wish("/developer/jobs/{job_id:id}/retry", message=RetryJob),
    wish("/developer/jobs/{job_id:id}/cancel", message=StopJob),
    own(
        "GET",
        "/developer/jobs/{job_id:id}/log",
        log_of_attempt,
        write=LOG,
        query={"attempt": "which attempt's log, from 1; the last one's where this is missing"},
        errors=("JOB_NOT_FOUND", "REQUEST_INVALID"),
    ),
    query("/developer/jobs/{job_id:id}/artifacts", GetJob, write=ARTIFACTS, errors=("JOB_NOT_FOUND",)),
    own(
        "GET",
        "/developer/jobs/{job_id:id}/artifacts/{artifact_id}",
        artifact,
        write=FILE,
        errors=("JOB_NOT_FOUND", "ARTIFACT_NOT_FOUND"),
    ),
)
