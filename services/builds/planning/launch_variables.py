"""Variables of a launch: who may set them."""

from collections.abc import Sequence

from contracts.builds import LaunchVariable
from contracts.errors import RequestRejected
from contracts.projects import LaunchSettings, ProjectAction
from libs.branch_names import BRANCH_REF_PREFIX
from libs.launches.variable_rules import secret_name_rejection
from libs.permissions.projections import list_companies_of
from libs.permissions.rule import allows
from libs.service.declaration import Context
from services.builds.dispatch.job_secrets import ProjectDeletedError, load_job_secrets
from services.builds.domain.protected_refs import is_protected_ref

ANY_BRANCH = "*"


async def authorize_variables(
    ctx: Context, settings: LaunchSettings, ref: str | None, variables: Sequence[LaunchVariable]
) -> None:
    """Check that the actor may set these variables for a build of the branch. `ref`: None is the project's branch.

    Raises BUILD_VARIABLES_NOT_ALLOWED, BUILD_VARIABLES_RESERVED for the name of a secret, and PROJECT_NOT_FOUND.
    """
    if not variables:
        return
    actor = ctx.metadata.actor
    branch = (ref or settings.branch).removeprefix(BRANCH_REF_PREFIX)
    if is_protected(branch, settings.protected_branches):
        companies = await list_companies_of(ctx, actor.id) if settings.company_id else ()
        if not allows(settings, actor, ProjectAction.MAINTAIN, companies):
            raise RequestRejected("BUILD_VARIABLES_NOT_ALLOWED", _explain_denial(branch))
    await reject_secret_names(ctx, settings.project_id, variables)


async def reject_secret_names(ctx: Context, project_id: int, variables: Sequence[LaunchVariable]) -> None:
    """Raise BUILD_VARIABLES_RESERVED if a variable has the name of a secret. Raises PROJECT_NOT_FOUND."""
    if not variables:
        return
    try:
        secrets = await load_job_secrets(ctx, project_id, None)
    except ProjectDeletedError:
        raise RequestRejected("PROJECT_NOT_FOUND") from None
    secret_names = {secret.name for secret in secrets.secrets}
    for variable in variables:
        if variable.name in secret_names:
            raise secret_name_rejection(variable.name)


def is_protected(branch: str, protected_branches: Sequence[str]) -> bool:
    """Return whether the branch is protected. `*` counts as protected: the name of the default branch is unknown."""
    return branch == ANY_BRANCH or is_protected_ref(f"{BRANCH_REF_PREFIX}{branch}", protected_branches)


def _explain_denial(branch: str) -> str:
    if branch == ANY_BRANCH:
        return "Name a branch that is not protected: only maintainers may set variables for the default branch."
    return f"The branch {branch} is protected: only maintainers of the project may set variables for its builds."
