"""Artifacts and logs of jobs in GitFlic's API, addressed by the job's or build's number within its project."""

from contracts.builds import ListJobFiles
from gateway.adapters.gitflic.job_files import FILE_PAGE, download_file, find_build_files, find_job_files
from gateway.auth import Role
from gateway.framework.route_table import own
from gateway.routes.gitflic.gitflic_builders import paged_query
from gateway.streaming.job_downloads import FILE

CICD = "/project/{owner_alias}/{project_alias}/cicd"
JOB = f"{CICD}/job/{{job_local_id:id}}"

FILES = (
    paged_query(
        f"{JOB}/artifacts", ListJobFiles, FILE_PAGE, find=find_job_files, needs=Role.USER, errors=("JOB_NOT_FOUND",)
    ),
    paged_query(
        f"{CICD}/pipeline/{{build_local_id:id}}/artifacts",
        ListJobFiles,
        FILE_PAGE,
        find=find_build_files,
        needs=Role.USER,
        errors=("BUILD_NOT_FOUND",),
    ),
    own(
        "GET",
        f"{JOB}/artifact/{{artifact_uuid}}/download",
        download_file,
        write=FILE,
        needs=Role.USER,
        stranger=403,
        errors=("JOB_NOT_FOUND", "ARTIFACT_NOT_FOUND"),
    ),
)
