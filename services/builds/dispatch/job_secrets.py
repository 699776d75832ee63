"""Secrets of a job, fetched from the projects service: secret values and repository credentials."""

from contracts.builds import BuildRow, LaunchedProject
from contracts.errors import RequestRejected
from contracts.projects import GetJobSecrets, JobSecrets
from libs.branch_names import is_pull_request_ref
from libs.service.declaration import Context


class ProjectDeletedError(Exception):
    """The project was deleted, so its builds cannot continue."""


def with_owner(project: LaunchedProject, secrets: JobSecrets) -> LaunchedProject:
    """Return the project with the name of its owner, which was removed if the owner was erased."""
    return project if project.owner_alias else project.replace(owner_alias=secrets.owner_alias)


def is_trusted(build: BuildRow, ref: str) -> bool:
    """Return whether jobs of the build may have the project's secrets.

    A commit of a fork may not. Neither may one of a pull request about which nothing is known, for example because the
    build was deleted.
    """
    if build.pull_request is None:
        return not is_pull_request_ref(ref)
    return not build.pull_request.is_fork


def without_secrets(secrets: JobSecrets) -> JobSecrets:
    """Return what is needed to fetch the repository."""
    return secrets.replace(secrets=())


async def load_job_secrets(ctx: Context, project_id: int, repository: str | None) -> JobSecrets:
    """Return the secrets and the SSH key of a project. Raises ProjectDeletedError.

    The login for the repository is included if `repository` is still the URL of the project's repository.
    """
    try:
        return await ctx.query(GetJobSecrets(project_id=project_id, repository=repository), JobSecrets)
    except RequestRejected as rejected:
        if rejected.code != "PROJECT_NOT_FOUND":
            raise
        raise ProjectDeletedError from rejected
