"""$NAMES in the texts of a job: what GitLab leaves to its runners to replace."""

import re
from collections.abc import Mapping

from agent.protocol.job import Variable

REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


def expand(text: str, values: Mapping[str, str]) -> str:
    """With the values of variables; unknown ones are empty, and $$ is one $."""
    return REFERENCE.sub(lambda found: "$" if found[1] else values.get(found[2] or found[3], ""), text)


def resolve(variable: Variable, values: Mapping[str, str]) -> str:
    """Replaced once: servers hand out values whose parts are plain, but for what a runner alone knows."""
    return variable.value if variable.raw or variable.file else expand(variable.value, values)
