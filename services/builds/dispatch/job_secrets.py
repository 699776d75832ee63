"""Secrets of a job, fetched from the projects service: secret values and repository credentials."""

from contracts.builds import LaunchedProject
from contracts.errors import RequestRejected
from contracts.projects import GetJobSecrets, JobSecrets
from libs.service.declaration import Context


class ProjectDeletedError(Exception):
    """The project was deleted, so its builds cannot continue."""


def with_owner(project: LaunchedProject, secrets: JobSecrets) -> LaunchedProject:
    """Return the project with the name of its owner, which was removed if the owner was erased."""
    return project if project.owner_alias else project.replace(owner_alias=secrets.owner_alias)


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
