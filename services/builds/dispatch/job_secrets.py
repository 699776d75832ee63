"""What the projects service entrusts to a build: the values of its secrets, and the keys to its repository."""

from contracts.errors import RequestRejected
from contracts.projects import GetJobSecrets, JobSecrets
from libs.service.declaration import Context


class ProjectDeletedError(Exception):
    """The project was deleted meanwhile; there is nothing to build any more."""


async def load_job_secrets(ctx: Context, project_id: int, repository: str | None) -> JobSecrets:
    try:
        return JobSecrets.model_validate(await ctx.query(GetJobSecrets(project_id=project_id, repository=repository)))
    except RequestRejected as refused:
        if refused.code != "PROJECT_NOT_FOUND":
            raise
        raise ProjectDeletedError from refused
