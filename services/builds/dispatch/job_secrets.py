"""Secrets of a job, fetched from the projects service: secret values and repository credentials."""

from contracts.builds import BuildRow, LaunchedProject
from contracts.errors import RequestRejected
from contracts.projects import GetJobSecrets, JobSecrets
from libs.branch_names import is_pull_request_ref
from libs.service.declaration import Context


class ProjectDeletedError(Exception):
    """The project was deleted, so its builds cannot continue."""


def with_owner(project: LaunchedProject, secrets: JobSecrets) -> LaunchedProject:
    """Return the project with its owner's name: the current one if the name at the launch was erased."""
    return project if project.owner_alias else project.replace(owner_alias=secrets.owner_alias)


def is_trusted(build: BuildRow, ref: str) -> bool:
    """Return whether jobs of the build may have the project's secrets.

    Jobs of a commit from a fork may not. Jobs of a pull request may not if the build does not say whether it comes
    from a fork, for example because the build was deleted.
    """
    if build.pull_request is None:
        return not is_pull_request_ref(ref)
    return not build.pull_request.is_fork


def without_secrets(secrets: JobSecrets) -> JobSecrets:
    """Return a copy without secret values. It has only what is needed to fetch the repository."""
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
