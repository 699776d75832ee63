"""What a job works with: image, services, artifacts and caches. All of it is for the runner; here it is only read."""

from collections.abc import Callable
from typing import Literal

from contracts.builds import PlannedArtifacts, PlannedCache, PlannedImage
from services.builds.pipeline.document.ast_nodes import (
    ListNode,
    MappingNode,
    Node,
    ScalarNode,
    as_bool,
    as_choice,
    as_list,
    as_mapping,
    as_string,
    as_strings,
    as_text,
    fail,
    require_list,
)
from services.builds.pipeline.keywords.durations import parse_duration
from services.builds.pipeline.rules.repository_tree import RepositoryTree
from services.builds.pipeline.variables import parse_variables

Warn = Callable[[str], None]

IMAGE_KEYS = {"name", "alias", "entrypoint", "command", "pull_policy", "variables"}
ARTIFACT_KEYS = {"name", "paths", "exclude", "untracked", "when", "expire_in"}
CACHE_KEYS = {"key", "paths", "untracked", "policy", "when", "fallback_keys"}
When = Literal["on_success", "on_failure", "always"]
WHEN_VALUES: tuple[When, ...] = ("on_success", "on_failure", "always")
CACHE_POLICIES = ("pull-push", "pull", "push")
PULL_POLICIES = ("always", "if-not-present", "never")


def parse_image(node: Node | None, what: str, warn: Warn) -> PlannedImage | None:
    keys = {"name", "entrypoint", "pull_policy"}
    return _parse_image(node, f"`image` of {what}", keys, warn) if node is not None else None


def parse_services(node: Node | None, what: str, warn: Warn) -> tuple[PlannedImage, ...]:
    return tuple(
        _parse_image(one, f"a service of {what}", IMAGE_KEYS, warn)
        for one in require_list(node, f"`services` of {what}")
    )


def _parse_image(node: Node, what: str, keys: set[str], warn: Warn) -> PlannedImage:
    if not isinstance(node, MappingNode):
        return PlannedImage(name=_parse_name(node, what))
    for key in node.members:
        if key in ("docker", "kubernetes", "ports"):
            warn(f"{node.position_of(key)}: `{key}` of {what} is not supported and has no effect")
        elif key not in keys:
            fail(node.position_of(key), f"{what} has the unknown keyword `{key}`; known are {', '.join(sorted(keys))}")
    name, alias, pull = node.get("name"), node.get("alias"), node.get("pull_policy")
    if name is None:
        fail(node.place, f"{what} has no name")
    return PlannedImage(
        name=_parse_name(name, what),
        alias=as_text(alias, f"the alias of {what}") if alias is not None else None,
        entrypoint=_parse_arguments(node, "entrypoint", what),
        command=_parse_arguments(node, "command", what),
        pull_policy=tuple(as_choice(one, f"`pull_policy` of {what}", PULL_POLICIES) for one in as_list(pull)),
        variables=tuple(parse_variables(node.get("variables"), f"`variables` of {what}").values()),
    )


def _parse_name(node: Node, what: str) -> str:
    value = as_string(node, what)
    if not value.strip() or not value.isprintable():
        fail(node.place, f"{what} has no name")
    return value.strip()


def _parse_arguments(node: MappingNode, key: str, what: str) -> tuple[str, ...] | None:
    found = node.get(key)
    return as_strings(found, f"`{key}` of {what}") if found is not None else None


def parse_artifacts(node: Node | None, what: str, warn: Warn) -> PlannedArtifacts | None:
    if node is None:
        return None
    source = as_mapping(node, f"`artifacts` of {what}")
    _warn_about_unknown(source, ARTIFACT_KEYS, "artifacts", what, warn)
    name, untracked, expire = source.get("name"), source.get("untracked"), source.get("expire_in")
    result = PlannedArtifacts(
        name=as_text(name, f"the name of the artifacts of {what}") if name is not None else None,
        paths=as_strings(source.get("paths"), f"`paths` in `artifacts` of {what}"),
        exclude=as_strings(source.get("exclude"), f"`exclude` in `artifacts` of {what}"),
        untracked=untracked is not None and as_bool(untracked, f"`untracked` in `artifacts` of {what}"),
        when=_parse_when(source, what),
        expire_in=_parse_expiry(expire, what) if expire is not None else None,
    )
    return result if result.paths or result.untracked else None


def _parse_expiry(node: Node, what: str) -> str:
    written = as_text(node, f"`expire_in` of {what}").strip()
    if written != "never" and parse_duration(written) is None:
        fail(node.place, f"`expire_in` of {what} must be `never` or a length of time, for example `2 days`")
    return written


def parse_caches(node: Node | None, what: str, tree: RepositoryTree | None, warn: Warn) -> tuple[PlannedCache, ...]:
    found = [_parse_cache(as_mapping(one, f"`cache` of {what}"), what, tree, warn) for one in as_list(node)]
    return tuple(one for one in found if one.paths or one.untracked)


def _parse_cache(source: MappingNode, what: str, tree: RepositoryTree | None, warn: Warn) -> PlannedCache:
    _warn_about_unknown(source, CACHE_KEYS, "cache", what, warn)
    key, untracked, policy = source.get("key"), source.get("untracked"), source.get("policy")
    return PlannedCache(
        key=_parse_cache_key(key, what, tree, warn) if key is not None else "default",
        paths=as_strings(source.get("paths"), f"`paths` in `cache` of {what}"),
        untracked=untracked is not None and as_bool(untracked, f"`untracked` in `cache` of {what}"),
        policy=_parse_policy(policy, f"`policy` in `cache` of {what}") if policy is not None else CACHE_POLICIES[0],
        when=_parse_when(source, what),
        fallback_keys=as_strings(source.get("fallback_keys"), f"`fallback_keys` in `cache` of {what}"),
    )


def _parse_policy(node: Node, what: str) -> str:
    """A variable is known when a runner gets the job."""
    return (
        node.text
        if isinstance(node, ScalarNode) and node.text.startswith("$")
        else as_choice(node, what, CACHE_POLICIES)
    )


def _parse_cache_key(node: Node, what: str, tree: RepositoryTree | None, warn: Warn) -> str:
    """A text, or what follows from the content of files; `default` where none of them exists."""
    if not isinstance(node, MappingNode):
        return as_string(node, f"the key of the cache of {what}")
    prefix, files = node.get("prefix"), as_strings(node.get("files"), f"`files` of the key of the cache of {what}")
    if files and tree is None:
        warn(f"{node.place}: the key of the cache of {what} does not follow the content of files: they are not known")
    found = (tree.content_key(files) if tree else "") or "default"
    return f"{as_text(prefix, '`prefix`')}-{found}" if prefix is not None else found


def _parse_when(source: MappingNode, what: str) -> When:
    node = source.get("when")
    return as_choice(node, f"`when` of {what}", WHEN_VALUES) if node is not None else WHEN_VALUES[0]


def _warn_about_unknown(source: MappingNode, known: set[str], keyword: str, what: str, warn: Warn) -> None:
    for key, node in source.members.items():
        if key not in known and not (isinstance(node, ListNode) and not node.nodes):
            warn(f"{source.position_of(key)}: `{key}` in `{keyword}` of {what} is not supported and has no effect")
