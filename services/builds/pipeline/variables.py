"""Variables: those of the spec file, those every job has (CI_*), and $NAMES in values."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from contracts.builds import LaunchedProject, PlannedVariable
from libs.version import VERSION
from services.builds.pipeline.document.ast_nodes import MappingNode, Node, Position, as_bool, as_mapping, as_text, fail
from services.builds.pipeline.rules.repository_tree import RepositoryTree

NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
REFERENCE_PATTERN = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.ASCII)
MAX_EXPANSION_DEPTH = 10  # values that mean values that mean values
MAX_EXPANSION_CHARACTERS = 128 * 1024  # characters that values may get by what they mean, all together
ZERO_SHA = "0" * 40


@dataclass(frozen=True, slots=True)
class PipelineContext:
    """What is known of a build before its jobs are."""

    project: LaunchedProject
    build_id: int
    local_id: int
    ref: str  # refs/heads/... or refs/tags/...
    sha: str
    url: str  # of the server
    default_branch: str = ""
    source: str = "web"
    initiator: str = ""
    protected: bool = False
    message: str = ""
    before_sha: str = ""
    initiator_id: int = 0
    queued_at: datetime | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)  # of the project, for conditions alone
    tree: RepositoryTree | None = None  # None: nobody looked
    files: Mapping[str, bytes | None] = field(default_factory=dict)  # by path, what was asked for; None: there is none

    @property
    def ref_name(self) -> str:
        return self.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")

    @property
    def is_tag(self) -> bool:
        return self.ref.startswith("refs/tags/")


def parse_variables(node: Node | None, what: str) -> dict[str, PlannedVariable]:
    """`variables`: names with a value, or with a mapping of value, description, options, expand."""
    if node is None:
        return {}
    source = as_mapping(node, what)
    return {name: _parse_variable(name, value, source.position_of(name)) for name, value in source.members.items()}


def _parse_variable(name: str, node: Node, place: Position) -> PlannedVariable:
    if not NAME_PATTERN.fullmatch(name):
        fail(place, f"`{name}` cannot be the name of a variable: letters, digits and _ are allowed")
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
    name = context.ref_name
    title, _, description = context.message.partition("\n")
    return project_variables(context.project, context.url) | {
        "CI_COMMIT_SHA": context.sha,
        "CI_COMMIT_SHORT_SHA": context.sha[:8],
        "CI_COMMIT_BEFORE_SHA": context.before_sha or ZERO_SHA,
        "CI_COMMIT_REF_NAME": name,
        "CI_COMMIT_REF_SLUG": to_slug(name),
        "CI_COMMIT_REF_PROTECTED": "true" if context.protected else "false",
        **({"CI_COMMIT_TAG": name} if context.is_tag else {"CI_COMMIT_BRANCH": name}),
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
        "CI_PIPELINE_URL": f"{context.url}/api/developer/builds/{context.build_id}",
        **({"CI_PIPELINE_CREATED_AT": format_time(context.queued_at)} if context.queued_at else {}),
        "GITLAB_USER_ID": str(context.initiator_id),
        "GITLAB_USER_LOGIN": context.initiator,
        "GITLAB_USER_NAME": context.initiator,
    }


def format_time(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def to_slug(text: str) -> str:
    """Lower case, at most 63 characters, only what a host name may hold."""
    return re.sub(r"[^a-z0-9]", "-", text.lower())[:63].strip("-")


def expand_variables(known: Mapping[str, str], more: Iterable[PlannedVariable]) -> dict[str, str]:
    """All values, with $NAMES in them replaced; of the same name the later one wins."""
    raw = dict(known)
    expanded = set[str]()
    for one in more:
        raw[one.key] = one.value
        (expanded.add if one.expand else expanded.discard)(one.key)
    return _expand_all(raw, expanded)


def _expand_all(raw: Mapping[str, str], expanded: set[str]) -> dict[str, str]:
    """A variable that means itself, directly or not, is left as it stands."""
    left = MAX_EXPANSION_CHARACTERS

    def of(one: str, within: tuple[str, ...]) -> str:
        if one not in expanded:
            return raw[one]
        return REFERENCE_PATTERN.sub(lambda found: inner(found, (*within, one)), raw[one])

    def inner(found: re.Match[str], within: tuple[str, ...]) -> str:
        nonlocal left
        wanted = found[2] or found[3]
        if not wanted:
            return "$"  # written as $$
        if wanted not in raw or wanted in within or len(within) > MAX_EXPANSION_DEPTH or left <= 0:
            return found[0]
        meaning = of(wanted, within)
        left -= len(meaning) + 1
        return meaning

    return {name: of(name, ()) for name in raw}


def expand(source: str, values: Mapping[str, str]) -> str:
    """$NAMES in a text; those that are not known stay for whoever knows them."""
    return REFERENCE_PATTERN.sub(lambda found: values.get(found[2] or found[3] or "", found[0]), source)
