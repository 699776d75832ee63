"""What a job works with: image, services, artifacts and caches. All of it is for the runner; here it is only read."""

from collections.abc import Callable
from typing import Literal

from contracts.builds import PlannedArtifacts, PlannedCache, PlannedImage
from services.builds.pipeline.durations import seconds
from services.builds.pipeline.nodes import (
    Block,
    Items,
    Node,
    Scalar,
    block,
    choice,
    flag,
    items,
    listed,
    string,
    strings,
    text,
    wrong,
)
from services.builds.pipeline.tree import Tree
from services.builds.pipeline.variables import declared

Warn = Callable[[str], None]

IMAGE_KEYS = {"name", "alias", "entrypoint", "command", "pull_policy", "variables"}
ARTIFACT_KEYS = {"name", "paths", "exclude", "untracked", "when", "expire_in"}
CACHE_KEYS = {"key", "paths", "untracked", "policy", "when", "fallback_keys"}
End = Literal["on_success", "on_failure", "always"]
ENDS: tuple[End, ...] = ("on_success", "on_failure", "always")
POLICIES = ("pull-push", "pull", "push")
PULL_POLICIES = ("always", "if-not-present", "never")


def image(node: Node | None, what: str, warn: Warn) -> PlannedImage | None:
    keys = {"name", "entrypoint", "pull_policy"}
    return _image(node, f"`image` of {what}", keys, warn) if node is not None else None


def services(node: Node | None, what: str, warn: Warn) -> tuple[PlannedImage, ...]:
    return tuple(_image(one, f"a service of {what}", IMAGE_KEYS, warn) for one in items(node, f"`services` of {what}"))


def _image(node: Node, what: str, keys: set[str], warn: Warn) -> PlannedImage:
    if not isinstance(node, Block):
        return PlannedImage(name=_filled(node, what))
    for key in node.members:
        if key in ("docker", "kubernetes", "ports"):
            warn(f"{node.at(key)}: `{key}` of {what} is not supported and has no effect")
        elif key not in keys:
            wrong(node.at(key), f"{what} has the unknown keyword `{key}`; known are {', '.join(sorted(keys))}")
    name, alias, pull = node.get("name"), node.get("alias"), node.get("pull_policy")
    if name is None:
        wrong(node.place, f"{what} has no name")
    return PlannedImage(
        name=_filled(name, what),
        alias=text(alias, f"the alias of {what}") if alias is not None else None,
        entrypoint=_words(node, "entrypoint", what),
        command=_words(node, "command", what),
        pull_policy=tuple(choice(one, f"`pull_policy` of {what}", PULL_POLICIES) for one in listed(pull)),
        variables=tuple(declared(node.get("variables"), f"`variables` of {what}").values()),
    )


def _filled(node: Node, what: str) -> str:
    value = string(node, what)
    if not value.strip() or not value.isprintable():
        wrong(node.place, f"{what} has no name")
    return value.strip()


def _words(node: Block, key: str, what: str) -> tuple[str, ...] | None:
    found = node.get(key)
    return strings(found, f"`{key}` of {what}") if found is not None else None


def artifacts(node: Node | None, what: str, warn: Warn) -> PlannedArtifacts | None:
    if node is None:
        return None
    source = block(node, f"`artifacts` of {what}")
    _warn_of_others(source, ARTIFACT_KEYS, "artifacts", what, warn)
    name, untracked, expire = source.get("name"), source.get("untracked"), source.get("expire_in")
    result = PlannedArtifacts(
        name=text(name, f"the name of the artifacts of {what}") if name is not None else None,
        paths=strings(source.get("paths"), f"`paths` in `artifacts` of {what}"),
        exclude=strings(source.get("exclude"), f"`exclude` in `artifacts` of {what}"),
        untracked=untracked is not None and flag(untracked, f"`untracked` in `artifacts` of {what}"),
        when=_end(source, what),
        expire_in=_expiry(expire, what) if expire is not None else None,
    )
    return result if result.paths or result.untracked else None


def _expiry(node: Node, what: str) -> str:
    written = text(node, f"`expire_in` of {what}").strip()
    if written != "never" and seconds(written) is None:
        wrong(node.place, f"`expire_in` of {what} must be `never` or a length of time, for example `2 days`")
    return written


def caches(node: Node | None, what: str, tree: Tree | None, warn: Warn) -> tuple[PlannedCache, ...]:
    found = [_cache(block(one, f"`cache` of {what}"), what, tree, warn) for one in listed(node)]
    return tuple(one for one in found if one.paths or one.untracked)


def _cache(source: Block, what: str, tree: Tree | None, warn: Warn) -> PlannedCache:
    _warn_of_others(source, CACHE_KEYS, "cache", what, warn)
    key, untracked, policy = source.get("key"), source.get("untracked"), source.get("policy")
    return PlannedCache(
        key=_key(key, what, tree, warn) if key is not None else "default",
        paths=strings(source.get("paths"), f"`paths` in `cache` of {what}"),
        untracked=untracked is not None and flag(untracked, f"`untracked` in `cache` of {what}"),
        policy=_policy(policy, f"`policy` in `cache` of {what}") if policy is not None else POLICIES[0],
        when=_end(source, what),
        fallback_keys=strings(source.get("fallback_keys"), f"`fallback_keys` in `cache` of {what}"),
    )


def _policy(node: Node, what: str) -> str:
    """A variable is known when a runner gets the job."""
    return node.text if isinstance(node, Scalar) and node.text.startswith("$") else choice(node, what, POLICIES)


def _key(node: Node, what: str, tree: Tree | None, warn: Warn) -> str:
    """A text, or what follows from the content of files; `default` where none of them exists."""
    if not isinstance(node, Block):
        return string(node, f"the key of the cache of {what}")
    prefix, files = node.get("prefix"), strings(node.get("files"), f"`files` of the key of the cache of {what}")
    if files and tree is None:
        warn(f"{node.place}: the key of the cache of {what} does not follow the content of files: they are not known")
    found = (tree.key_of(files) if tree else "") or "default"
    return f"{text(prefix, '`prefix`')}-{found}" if prefix is not None else found


def _end(source: Block, what: str) -> End:
    node = source.get("when")
    return choice(node, f"`when` of {what}", ENDS) if node is not None else ENDS[0]


def _warn_of_others(source: Block, known: set[str], keyword: str, what: str, warn: Warn) -> None:
    for key, node in source.members.items():
        if key not in known and not (isinstance(node, Items) and not node.nodes):
            warn(f"{source.at(key)}: `{key}` in `{keyword}` of {what} is not supported and has no effect")
