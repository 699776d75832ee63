"""Files that jobs of a project left, as GitFlic has them; jobs and builds by their numbers in the project."""

from contracts.builds import ListFiles
from gateway.auth import Role
from gateway.dialects.artifacts import FILE
from gateway.dialects.gitflic.files import FILE_PAGE, file, of_build, of_job
from gateway.routes.gitflic import listing
from gateway.routing import own

CICD = "/project/{owner_alias}/{project_alias}/cicd"
JOB = f"{CICD}/job/{{job_local_id:id}}"

FILES = (
    listing(f"{JOB}/artifacts", ListFiles, FILE_PAGE, find=of_job, needs=Role.USER, errors=("JOB_NOT_FOUND",)),
    listing(
        f"{CICD}/pipeline/{{build_local_id:id}}/artifacts",
        ListFiles,
        FILE_PAGE,
        find=of_build,
        needs=Role.USER,
        errors=("BUILD_NOT_FOUND",),
    ),
    own(
        "GET",
        f"{JOB}/artifact/{{artifact_uuid}}/download",
        file,
        write=FILE,
        needs=Role.USER,
        stranger=403,
        errors=("JOB_NOT_FOUND", "ARTIFACT_NOT_FOUND"),
    ),
)
