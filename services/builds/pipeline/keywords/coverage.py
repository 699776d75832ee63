"""The keyword `coverage`: the pattern that finds the coverage of a job in its log."""

from services.builds.pipeline.document.ast_nodes import Node, as_string, fail
from services.builds.pipeline.rules.patterns import PatternInvalid, compile_pattern, is_pattern


def parse_coverage(node: Node | None, label: str) -> str:
    """Return the pattern in slashes, or an empty text if the job has none. Raises SpecInvalid if it is invalid."""
    if node is None:
        return ""
    literal = as_string(node, f"`coverage` of {label}")
    if not is_pattern(literal):
        fail(node.position, f"`coverage` of {label} must be a regular expression in slashes")
    try:
        compile_pattern(literal)
    except PatternInvalid as error:
        fail(node.position, f"`coverage` of {label}: {error}")
    return literal
