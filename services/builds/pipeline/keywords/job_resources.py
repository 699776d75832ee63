"""Keywords that configure the runner for a job: image, services, artifacts, reports and caches."""

from collections.abc import Callable
from typing import Literal

from contracts.builds import PlannedArtifacts, PlannedCache, PlannedImage, PlannedReports
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
ARTIFACT_KEYS = {"name", "paths", "exclude", "untracked", "when", "expire_in", "reports"}
REPORT_KEYS = {"junit"}
CACHE_KEYS = {"key", "paths", "untracked", "policy", "when", "fallback_keys"}
When = Literal["on_success", "on_failure", "always"]
WHEN_VALUES: tuple[When, ...] = ("on_success", "on_failure", "always")
CACHE_POLICIES = ("pull-push", "pull", "push")
PULL_POLICIES = ("always", "if-not-present", "never")


def parse_image(node: Node | None, label: str, warn: Warn) -> PlannedImage | None:
    keys = {"name", "entrypoint", "pull_policy"}
    return _parse_image(node, f"`image` of {label}", keys, warn) if node is not None else None


def parse_services(node: Node | None, label: str, warn: Warn) -> tuple[PlannedImage, ...]:
    return tuple(
        _parse_image(service, f"a service of {label}", IMAGE_KEYS, warn)
        for service in require_list(node, f"`services` of {label}")
    )


def _parse_image(node: Node, label: str, keys: set[str], warn: Warn) -> PlannedImage:
    if not isinstance(node, MappingNode):
        return PlannedImage(name=_parse_name(node, label))
    for key in node.members:
        if key in ("docker", "kubernetes", "ports"):
            warn(f"{node.position_of(key)}: `{key}` of {label} is not supported and has no effect")
        elif key not in keys:
            fail(node.position_of(key), f"{label} has the unknown keyword `{key}`; known are {', '.join(sorted(keys))}")
    name, alias, pull = node.get("name"), node.get("alias"), node.get("pull_policy")
    if name is None:
        fail(node.position, f"{label} has no name")
    return PlannedImage(
        name=_parse_name(name, label),
        alias=as_text(alias, f"the alias of {label}") if alias is not None else None,
        entrypoint=_parse_arguments(node, "entrypoint", label),
        command=_parse_arguments(node, "command", label),
        pull_policy=tuple(as_choice(policy, f"`pull_policy` of {label}", PULL_POLICIES) for policy in as_list(pull)),
        variables=tuple(parse_variables(node.get("variables"), f"`variables` of {label}").values()),
    )


def _parse_name(node: Node, label: str) -> str:
    value = as_string(node, label)
    if not value.strip() or not value.isprintable():
        fail(node.position, f"{label} has no name")
    return value.strip()


def _parse_arguments(node: MappingNode, key: str, label: str) -> tuple[str, ...] | None:
    arguments = node.get(key)
    return as_strings(arguments, f"`{key}` of {label}") if arguments is not None else None


def parse_artifacts(node: Node | None, label: str, warn: Warn) -> PlannedArtifacts | None:
    if node is None:
        return None
    source = as_mapping(node, f"`artifacts` of {label}")
    _warn_about_unknown(source, ARTIFACT_KEYS, "artifacts", label, warn)
    name, untracked, expire = source.get("name"), source.get("untracked"), source.get("expire_in")
    result = PlannedArtifacts(
        name=as_text(name, f"the name of the artifacts of {label}") if name is not None else None,
        paths=as_strings(source.get("paths"), f"`paths` in `artifacts` of {label}"),
        exclude=as_strings(source.get("exclude"), f"`exclude` in `artifacts` of {label}"),
        untracked=untracked is not None and as_bool(untracked, f"`untracked` in `artifacts` of {label}"),
        when=_parse_when(source, label),
        expire_in=_parse_expiry(expire, label) if expire is not None else None,
    )
    return result if result.paths or result.untracked else None


def parse_reports(node: Node | None, label: str, warn: Warn) -> PlannedReports | None:
    """Return the JUnit reports in `artifacts: reports`, or None if there are none. Raises SpecInvalid."""
    artifacts = as_mapping(node, f"`artifacts` of {label}") if node is not None else None
    reports = artifacts.get("reports") if artifacts else None
    if artifacts is None or reports is None:
        return None
    source, expire = as_mapping(reports, f"`reports` of {label}"), artifacts.get("expire_in")
    _warn_about_unknown(source, REPORT_KEYS, "reports", label, warn)
    junit = tuple(as_string(path, f"`junit` in `reports` of {label}") for path in as_list(source.get("junit")))
    expire_in = _parse_expiry(expire, label) if expire is not None else None
    return PlannedReports(junit=junit, expire_in=expire_in) if junit else None


def _parse_expiry(node: Node, label: str) -> str:
    written = as_text(node, f"`expire_in` of {label}").strip()
    if written != "never" and parse_duration(written) is None:
        fail(node.position, f"`expire_in` of {label} must be `never` or a duration, for example `2 days`")
    return written


def parse_caches(node: Node | None, label: str, tree: RepositoryTree | None, warn: Warn) -> tuple[PlannedCache, ...]:
    parsed = [_parse_cache(as_mapping(item, f"`cache` of {label}"), label, tree, warn) for item in as_list(node)]
    return tuple(cache for cache in parsed if cache.paths or cache.untracked)


def _parse_cache(source: MappingNode, label: str, tree: RepositoryTree | None, warn: Warn) -> PlannedCache:
    _warn_about_unknown(source, CACHE_KEYS, "cache", label, warn)
    key, untracked, policy = source.get("key"), source.get("untracked"), source.get("policy")
    return PlannedCache(
        key=_parse_cache_key(key, label, tree, warn) if key is not None else "default",
        paths=as_strings(source.get("paths"), f"`paths` in `cache` of {label}"),
        untracked=untracked is not None and as_bool(untracked, f"`untracked` in `cache` of {label}"),
        policy=_parse_policy(policy, f"`policy` in `cache` of {label}") if policy is not None else CACHE_POLICIES[0],
        when=_parse_when(source, label),
        fallback_keys=as_strings(source.get("fallback_keys"), f"`fallback_keys` in `cache` of {label}"),
    )


def _parse_policy(node: Node, label: str) -> str:
    """Return the cache policy. A variable is returned unexpanded: it gets its value when a runner gets the job."""
    return (
        node.text
        if isinstance(node, ScalarNode) and node.text.startswith("$")
        else as_choice(node, label, CACHE_POLICIES)
    )


def _parse_cache_key(node: Node, label: str, tree: RepositoryTree | None, warn: Warn) -> str:
    """Return the cache key: a text, or a hash of the content of `files`, or `default` if none of them exists.

    `prefix` is put before the hash or `default`.
    """
    if not isinstance(node, MappingNode):
        return as_string(node, f"the key of the cache of {label}")
    prefix, files = node.get("prefix"), as_strings(node.get("files"), f"`files` of the key of the cache of {label}")
    if files and tree is None:
        warn(f"{node.position}: the key of the cache of {label} ignores the content of files: it is unknown")
    content_key = (tree.content_key(files) if tree else "") or "default"
    return f"{as_text(prefix, '`prefix`')}-{content_key}" if prefix is not None else content_key


def _parse_when(source: MappingNode, label: str) -> When:
    node = source.get("when")
    return as_choice(node, f"`when` of {label}", WHEN_VALUES) if node is not None else WHEN_VALUES[0]


def _warn_about_unknown(source: MappingNode, known_keywords: set[str], keyword: str, label: str, warn: Warn) -> None:
    for key, node in source.members.items():
        if key not in known_keywords and not (isinstance(node, ListNode) and not node.nodes):
            warn(f"{source.position_of(key)}: `{key}` in `{keyword}` of {label} is not supported and has no effect")
