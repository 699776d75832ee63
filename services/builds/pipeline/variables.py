"""Variables of the spec file, predefined variables (CI_*), and the expansion of $NAMES in values."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from contracts.builds import LaunchedProject, LaunchVariable, PlannedVariable
from contracts.projects import PullRequest
from libs.launches.variable_rules import NAME_PATTERN
from libs.version import VERSION
from services.builds.pipeline.context import PipelineContext
from services.builds.pipeline.document.ast_nodes import MappingNode, Node, Position, as_bool, as_mapping, as_text, fail

REFERENCE_PATTERN = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.ASCII)
MAX_EXPANSION_DEPTH = 10  # levels of variables whose values refer to other variables
MAX_EXPANSION_CHARACTERS = 128 * 1024  # characters that expansion may add to all values together
ZERO_SHA = "0" * 40


def parse_variables(node: Node | None, label: str) -> dict[str, PlannedVariable]:
    """Parse `variables`: a mapping of names to values, or to mappings with value, description, options and expand."""
    if node is None:
        return {}
    source = as_mapping(node, label)
    return {name: _parse_variable(name, value, source.position_of(name)) for name, value in source.members.items()}


def _parse_variable(name: str, node: Node, position: Position) -> PlannedVariable:
    if not NAME_PATTERN.fullmatch(name):
        fail(position, f"`{name}` cannot be the name of a variable: letters, digits and _ are allowed")
    if not isinstance(node, MappingNode):
        return PlannedVariable(key=name, value=_parse_value(node, name))
    unknown = set(node.members) - {"value", "description", "options", "expand"}
    if unknown:
        fail(node.position_of(min(unknown)), f"the variable `{name}` has the unknown keyword `{min(unknown)}`")
    value, expand = node.get("value"), node.get("expand")
    return PlannedVariable(
        key=name,
        value=_parse_value(value, name) if value is not None else "",
        expand=expand is None or as_bool(expand, "`expand`"),
    )


def _parse_value(node: Node, name: str) -> str:
    if not isinstance(node, MappingNode) and getattr(node, "kind", "") == "null":
        return ""
    return as_text(node, f"the variable `{name}`")


def project_variables(project: LaunchedProject, url: str) -> dict[str, str]:
    path = f"{project.owner_alias}/{project.alias}"
    values = {
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_SERVER": "yes",
        "CI_SERVER_NAME": "Headrace",
        "CI_SERVER_URL": url,
        "CI_SERVER_VERSION": VERSION,
        "CI_API_V4_URL": f"{url}/api/v4",
        "CI_PROJECT_ID": str(project.project_id),
        "CI_PROJECT_NAME": project.alias,
        "CI_PROJECT_TITLE": project.name,
        "CI_PROJECT_NAMESPACE": project.owner_alias,
        "CI_PROJECT_ROOT_NAMESPACE": project.owner_alias,
        "CI_PROJECT_PATH": path,
        "CI_PROJECT_PATH_SLUG": to_slug(path),
        "CI_PROJECT_URL": f"{url}/{path}",
        "CI_REPOSITORY_URL": project.repository,
    }
    scheme, _, rest = url.partition("://")
    host, _, port = rest.partition("/")[0].partition(":")
    server = {
        "CI_SERVER_PROTOCOL": scheme,
        "CI_SERVER_HOST": host,
        "CI_SERVER_FQDN": rest.partition("/")[0],
        "CI_SERVER_PORT": port or ("443" if scheme == "https" else "80"),
    }
    return values | server


def build_variables(context: PipelineContext) -> dict[str, str]:
    """Return the predefined variables of a build, including its project's variables."""
    name = context.ref_name
    title, _, description = context.message.partition("\n")
    return project_variables(context.project, context.url) | {
        "CI_COMMIT_SHA": context.sha,
        "CI_COMMIT_SHORT_SHA": context.sha[:8],
        "CI_COMMIT_BEFORE_SHA": context.before_sha or ZERO_SHA,
        "CI_COMMIT_REF_NAME": name,
        "CI_COMMIT_REF_SLUG": to_slug(name),
        "CI_COMMIT_REF_PROTECTED": "true" if context.protected else "false",
        **({"CI_COMMIT_TAG": name} if context.is_tag else {}),
        **({"CI_COMMIT_BRANCH": name} if context.is_branch else {}),
        **(_merge_request_variables(context.pull_request, context.ref) if context.pull_request else {}),
        **(
            {
                "CI_COMMIT_MESSAGE": context.message,
                "CI_COMMIT_TITLE": title,
                "CI_COMMIT_DESCRIPTION": description.strip("\n"),
            }
            if context.message
            else {}
        ),
        **({"CI_DEFAULT_BRANCH": context.default_branch} if context.default_branch else {}),
        "CI_PIPELINE_ID": str(context.build_id),
        "CI_PIPELINE_IID": str(context.local_id),
        "CI_PIPELINE_SOURCE": context.source,
        **({"CI_PIPELINE_SCHEDULE_DESCRIPTION": context.schedule.description} if context.schedule else {}),
        "CI_PIPELINE_URL": f"{context.url}/api/developer/builds/{context.build_id}",
        **({"CI_PIPELINE_CREATED_AT": format_time(context.queued_at)} if context.queued_at else {}),
        "GITLAB_USER_ID": str(context.initiator_id),
        "GITLAB_USER_LOGIN": context.initiator,
        "GITLAB_USER_NAME": context.initiator,
    }


def _merge_request_variables(request: PullRequest, ref: str) -> dict[str, str]:
    return {
        "CI_MERGE_REQUEST_ID": str(request.number),
        "CI_MERGE_REQUEST_IID": str(request.number),
        "CI_MERGE_REQUEST_REF_PATH": ref,
        "CI_MERGE_REQUEST_TITLE": request.title,
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": request.source_branch,
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": request.target_branch,
        "CI_MERGE_REQUEST_EVENT_TYPE": "detached",
    }


def launch_variables(given: Iterable[LaunchVariable], *, expand: bool = True) -> Iterator[PlannedVariable]:
    """Yield the variables of a launch. Callers add them last: they override the file's variables, as in GitLab."""
    return (PlannedVariable(key=variable.name, value=variable.value, expand=expand) for variable in given)


def context_values(
    context: PipelineContext, declared: Iterable[PlannedVariable], job_values: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the values that the pipeline file may refer to, by name.

    `declared`: variables of the file. `job_values`: predefined variables of a job.
    """
    predefined = build_variables(context) | dict(job_values or {})
    return expand_variables(predefined, [*declared, *launch_variables(context.variables)])


def format_time(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def to_slug(text: str) -> str:
    """Return the text as a host name label: lower case, at most 63 characters, others replaced with `-`."""
    return re.sub(r"[^a-z0-9]", "-", text.lower())[:63].strip("-")


def expand_variables(known: Mapping[str, str], variables: Iterable[PlannedVariable]) -> dict[str, str]:
    """Return the values of all variables with $NAMES expanded. Of variables with the same name, the last one wins."""
    raw = dict(known)
    expanded = set[str]()
    for variable in variables:
        raw[variable.key] = variable.value
        (expanded.add if variable.expand else expanded.discard)(variable.key)
    return _expand_all(raw, expanded)


def _expand_all(raw: Mapping[str, str], expanded: set[str]) -> dict[str, str]:
    """Expand the references in the values of the variables in `expanded`.

    References to unknown names, circular references, and references beyond the limits stay unexpanded.
    """
    characters_left = MAX_EXPANSION_CHARACTERS

    def expanded_value(name: str, ancestors: tuple[str, ...]) -> str:
        if name not in expanded:
            return raw[name]
        return REFERENCE_PATTERN.sub(lambda match: replacement(match, (*ancestors, name)), raw[name])

    def replacement(match: re.Match[str], ancestors: tuple[str, ...]) -> str:
        nonlocal characters_left
        name = match[2] or match[3]
        if not name:
            return "$"  # `$$` is an escaped `$`
        if name not in raw or name in ancestors or len(ancestors) > MAX_EXPANSION_DEPTH or characters_left <= 0:
            return match[0]
        value = expanded_value(name, ancestors)
        characters_left -= len(value) + 1
        return value

    return {name: expanded_value(name, ()) for name in raw}


def expand(source: str, values: Mapping[str, str]) -> str:
    """Replace $NAMES in a text with their values. Unknown names stay, because the runner may know them."""
    return REFERENCE_PATTERN.sub(lambda match: values.get(match[2] or match[3] or "", match[0]), source)
