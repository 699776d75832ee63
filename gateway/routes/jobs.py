"""Routes of jobs: lists, actions, logs and artifacts."""

from functools import partial

from contracts.builds import CancelBuildJob, GetJob, ListBuildJobs, PlayJob, RetryBuild, RetryJob
from gateway.framework.route_table import command, own, query
from gateway.schemas.build_jobs import JOBS_OF_BUILD
from gateway.streaming.job_downloads import ARTIFACTS, FILE, LOG, download_artifact, read_job_log

LAUNCH_NOT_ALLOWED = "LAUNCH_BUILD_NOT_ALLOWED"
job_action = partial(
    command, "POST", status=204, errors=("JOB_NOT_FOUND", "JOB_STATUS", "BUILD_STATUS", LAUNCH_NOT_ALLOWED)
)

JOBS = (
    query("/developer/builds/{build_id:id}/jobs", ListBuildJobs, write=JOBS_OF_BUILD),
    command(
        "POST",
        "/developer/builds/{build_id:id}/retry",
        RetryBuild,
        status=204,
        errors=("BUILD_STATUS", LAUNCH_NOT_ALLOWED),
    ),
    job_action("/developer/jobs/{job_id:id}/play", message=PlayJob),
    job_action("/developer/jobs/{job_id:id}/retry", message=RetryJob),
    job_action("/developer/jobs/{job_id:id}/cancel", message=CancelBuildJob),
    own(
        "GET",
        "/developer/jobs/{job_id:id}/log",
        read_job_log,
        write=LOG,
        query={"attempt": "attempt number from 1; default: the latest attempt"},
        errors=("JOB_NOT_FOUND", "REQUEST_INVALID"),
    ),
    query("/developer/jobs/{job_id:id}/artifacts", GetJob, write=ARTIFACTS, errors=("JOB_NOT_FOUND",)),
    own(
        "GET",
        "/developer/jobs/{job_id:id}/artifacts/{artifact_id}",
        download_artifact,
        write=FILE,
        errors=("JOB_NOT_FOUND", "ARTIFACT_NOT_FOUND"),
    ),
)
