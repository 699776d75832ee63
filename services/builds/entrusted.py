"""What the projects service entrusts to a build: the values of its secrets, and the keys to its repository."""

from contracts.errors import Refused
from contracts.projects import GetJobSecrets, JobSecrets
from libs.service import Context


class ProjectGone(Exception):
    """The project was deleted meanwhile; there is nothing to build any more."""


async def job_secrets(ctx: Context, project_id: int, repository: str | None) -> JobSecrets:
    try:
        return JobSecrets.model_validate(await ctx.ask(GetJobSecrets(project_id=project_id, repository=repository)))
    except Refused as refused:
        if refused.code != "PROJECT_NOT_FOUND":
            raise
        raise ProjectGone from refused
