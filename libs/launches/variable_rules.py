"""Variables that a user sets for all jobs of a build: which names and values are accepted."""

import re
from collections.abc import Sequence
from typing import Protocol

from contracts.errors import RequestRejected

NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
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


class Variable(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> str: ...


def check_variables(variables: Sequence[Variable]) -> None:
    """Raise RequestRejected unless all names and values are accepted.

    The code is BUILD_VARIABLES_INVALID or BUILD_VARIABLES_RESERVED.
    """
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


def secret_name_rejection(name: str) -> RequestRejected:
    """Return the error for a variable with the name of a secret."""
    return RequestRejected("BUILD_VARIABLES_RESERVED", f"{quote_name(name)} is the name of a secret of the project.")


def quote_name(name: str) -> str:
    """Return the name between backticks, by which clients find the variable that an error is about."""
    return f"`{name if len(name) <= MAX_QUOTED_LENGTH else name[:MAX_QUOTED_LENGTH] + '...'}`"


def _invalid(detail: str) -> RequestRejected:
    return RequestRejected("BUILD_VARIABLES_INVALID", detail)
