"""Variables of a launch: which names and values are accepted, and who may set them."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from contracts.builds import LaunchVariable
from contracts.errors import RequestRejected
from contracts.projects import LaunchSettings, ProjectAction
from libs.branch_names import BRANCH_REF_PREFIX
from libs.permissions.projections import list_companies_of
from libs.permissions.rule import allows
from libs.service.declaration import Context
from services.builds.dispatch.job_secrets import ProjectDeletedError, load_job_secrets
from services.builds.pipeline.variables import NAME_PATTERN

MAX_VARIABLES = 50
MAX_NAME_LENGTH = 255
MAX_VALUE_BYTES = 4096
MAX_TOTAL_BYTES = 32 * 1024  # names and values together, because the event and the row of the build contain them
MAX_QUOTED_LENGTH = 80
RESERVED_NAMES = frozenset(
    {"BASH_ENV", "CI", "ENV", "HOME", "IFS", "PATH", "PROMPT_COMMAND", "PS4", "SHELLOPTS", "TMPDIR"}
)
"""Names that the shell, the agent or the predefined variables give a meaning."""
RESERVED_PREFIXES = ("CI_", "GITLAB_", "GIT_", "HEADRACE_", "LD_", "SSH_")
ANY_BRANCH = "*"


def check_variables(variables: Sequence[LaunchVariable]) -> None:
    """Raise BUILD_VARIABLES_INVALID or BUILD_VARIABLES_RESERVED unless all names and values are accepted."""
    if len(variables) > MAX_VARIABLES:
        raise _invalid(f"A launch can have at most {MAX_VARIABLES} variables.")
    names = set[str]()
    total = 0
    for name, value in ((variable.name, variable.value) for variable in variables):
        if len(name) > MAX_NAME_LENGTH or not NAME_PATTERN.fullmatch(name):
            rule = f"letters, digits and underscores, at most {MAX_NAME_LENGTH}, no digit at the beginning"
            raise _invalid(f"{quote_name(name)} cannot be the name of a variable: {rule}.")
        if name in RESERVED_NAMES or name.startswith(RESERVED_PREFIXES):
            raise RequestRejected("BUILD_VARIABLES_RESERVED", f"{quote_name(name)} is a reserved name.")
        if name in names:
            raise _invalid(f"{quote_name(name)} is set twice.")
        if "\0" in value:
            raise _invalid(f"The value of {quote_name(name)} contains the character NUL.")
        size = len(value.encode())
        if size > MAX_VALUE_BYTES:
            raise _invalid(f"The value of {quote_name(name)} has {size} bytes; at most {MAX_VALUE_BYTES} are allowed.")
        names.add(name)
        total += len(name) + size
    if total > MAX_TOTAL_BYTES:
        raise _invalid(f"All variables have {total} bytes together; at most {MAX_TOTAL_BYTES} are allowed.")


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
    try:
        secrets = await load_job_secrets(ctx, settings.project_id, None)
    except ProjectDeletedError:
        raise RequestRejected("PROJECT_NOT_FOUND") from None
    secret_names = {secret.name for secret in secrets.secrets}
    for variable in variables:
        if variable.name in secret_names:
            raise RequestRejected(
                "BUILD_VARIABLES_RESERVED", f"{quote_name(variable.name)} is the name of a secret of the project."
            )


def is_protected(branch: str, protected_branches: Sequence[str]) -> bool:
    """Return whether the branch is protected. `*` counts as protected: the name of the default branch is unknown."""
    return branch == ANY_BRANCH or any(fnmatchcase(branch, pattern) for pattern in protected_branches)


def quote_name(name: str) -> str:
    """Return the name between backticks, by which clients find the variable that an error is about."""
    return f"`{name if len(name) <= MAX_QUOTED_LENGTH else name[:MAX_QUOTED_LENGTH] + '...'}`"


def _invalid(detail: str) -> RequestRejected:
    return RequestRejected("BUILD_VARIABLES_INVALID", detail)


def _explain_denial(branch: str) -> str:
    if branch == ANY_BRANCH:
        return "Name a branch that is not protected: only maintainers may set variables for the default branch."
    return f"The branch {branch} is protected: only maintainers of the project may set variables for its builds."
