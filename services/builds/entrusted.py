"""What the projects service entrusts to a build: the values of its secrets, and the keys to its repository."""

from contracts.errors import Refused
from contracts.projects import GetJobSecrets, JobSecrets
from libs.service import Context


async def job_secrets(ctx: Context, project_id: int, repository: str | None) -> JobSecrets:
    """None for a project that was deleted meanwhile: what needs them fails by itself, with words."""
    try:
        return JobSecrets.model_validate(await ctx.ask(GetJobSecrets(project_id=project_id, repository=repository)))
    except Refused as refused:
        if refused.code != "PROJECT_NOT_FOUND":
            raise
        return JobSecrets(secrets=(), ssh_key=None)
