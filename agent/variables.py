"""$NAMES in the texts of a job: what GitLab leaves to its runners to replace."""

import re
from collections.abc import Mapping

from agent.job import Variable

USED = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


def filled(text: str, values: Mapping[str, str]) -> str:
    """With the values of variables; unknown ones are empty, and $$ is one $."""
    return USED.sub(lambda found: "$" if found[1] else values.get(found[2] or found[3], ""), text)


def meaning(variable: Variable, values: Mapping[str, str]) -> str:
    """Replaced once: servers hand out values whose parts are plain, but for what a runner alone knows."""
    return variable.value if variable.raw or variable.file else filled(variable.value, values)
