"""Expansion of variable references that GitLab's protocol leaves to runners."""

import re
from collections.abc import Mapping

from agent.protocol.job import Variable

REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace `$NAME` and `${NAME}` with their values, unknown names with nothing, and `$$` with `$`."""
    return REFERENCE.sub(lambda match: "$" if match[1] else values.get(match[2] or match[3], ""), text)


def resolve(variable: Variable, values: Mapping[str, str]) -> str:
    """Return the variable's value. References are expanded unless the variable is raw or a file variable.

    One pass suffices, because the server has expanded all references except references to variables of the runner.
    """
    return variable.value if variable.raw or variable.file else expand(variable.value, values)
