"""`include: local`: other files of the same commit, laid under the file that names them."""

from collections.abc import Iterator, Mapping, Sequence

from services.builds.pipeline.document.ast_nodes import MappingNode, Node, Position, ScalarNode, as_list, as_text, fail
from services.builds.pipeline.document.deep_merge import DeepMerger, without_keyword
from services.builds.pipeline.document.yaml_reader import read_yaml
from services.builds.pipeline.rules import conditions
from services.builds.pipeline.rules.conditions import Warn
from services.builds.pipeline.rules.repository_tree import GlobInvalid, matches_any
from services.builds.pipeline.variables import (
    PipelineContext,
    build_variables,
    expand,
    expand_variables,
    parse_variables,
)

MAX_INCLUDED_FILES = 100  # files
YAML_SUFFIXES = (".yml", ".yaml")
UNSUPPORTED_SOURCES = ("remote", "template", "project", "component", "artifact")
SUPPORTED_KEYWORDS = {"local", "rules"}


class IncludesRequired(Exception):
    """The text of these files of the commit is needed first."""

    def __init__(self, paths: frozenset[str]) -> None:
        super().__init__()
        self.paths = paths


class _IncludeResolver:
    def __init__(self, now: PipelineContext, warn: Warn) -> None:
        self._now = now
        self._warn = warn
        self._merging = DeepMerger("include")
        self._files = 0
        self.required_paths: set[str] = set()

    def resolve_file(self, content: bytes, name: str, chain: Sequence[str]) -> MappingNode:
        """With all that it includes under it: of two files the later one wins, and the including one over both."""
        top = read_yaml(content, self._warn, name)
        result: MappingNode | None = None
        for place, path in self._include_paths(top):
            if path in chain:
                fail(place, f"`include` leads in a circle: {path}")
            found = self._resolve_include(place, path, (*chain, path))
            result = found if result is None or found is None else self._merging.merge(result, found)
        own = without_keyword(top, "include")
        return own if result is None else self._merging.merge(result, own)

    def _resolve_include(self, place: Position, path: str, chain: Sequence[str]) -> MappingNode | None:
        self._files += 1
        if self._files > MAX_INCLUDED_FILES:
            fail(place, f"more than {MAX_INCLUDED_FILES} files are included")
        if path not in self._now.files:
            self.required_paths.add(path)
            return None
        content = self._now.files[path]
        if content is None:
            fail(place, f"`include` names the file {path}, which the commit does not have")
        return self.resolve_file(content, path, chain)

    def _include_paths(self, top: MappingNode) -> Iterator[tuple[Position, str]]:
        node = top.get("include")
        if node is None:
            return
        values = self._variable_values(top)
        for one in as_list(node):
            if (written := self._local_path_node(one, values)) is not None:
                yield from ((written.place, path) for path in self._matching_paths(written, values))

    def _variable_values(self, top: MappingNode) -> Mapping[str, str]:
        """Of variables, those that are plainly there."""
        node = top.get("variables")
        found = node.members if isinstance(node, MappingNode) else {}
        plain = {key: one for key, one in found.items() if isinstance(one, ScalarNode)}
        variables = parse_variables(MappingNode(top.place, plain, top.keys), "`variables`")
        return expand_variables(build_variables(self._now), variables.values())

    def _local_path_node(self, node: Node, values: Mapping[str, str]) -> Node | None:
        """Where it says which file of the commit it means; nothing if it means none."""
        if not isinstance(node, MappingNode):
            written = as_text(node, "`include`")
            if written.startswith(("http://", "https://")):
                self._warn(f"{node.place}: `include` of another server's file is not supported and has no effect")
                return None
            return node
        for keyword in UNSUPPORTED_SOURCES:
            if keyword in node.members:
                self._warn(f"{node.position_of(keyword)}: `include: {keyword}` is not supported and has no effect")
                return None
        for keyword in node.members.keys() - SUPPORTED_KEYWORDS:
            self._warn(f"{node.position_of(keyword)}: `{keyword}` of an `include` is not supported and has no effect")
        if (rules := node.get("rules")) is not None:
            ruling = conditions.match_rules(rules, "`include`", self._now, values, self._warn)
            if ruling is None or ruling.when == "never":
                return None
        written_node = node.get("local")
        if written_node is None:
            fail(node.place, "`include` names no `local` file")
        return written_node

    def _matching_paths(self, node: Node, values: Mapping[str, str]) -> Sequence[str]:
        path = expand(as_text(node, "`include`"), values).removeprefix("./").lstrip("/")
        if not path.endswith(YAML_SUFFIXES):
            fail(node.place, f"`include` takes files whose names end with {' or '.join(YAML_SUFFIXES)}, not {path}")
        if "*" not in path:
            return [path]
        if self._now.tree is None:
            fail(node.place, "`include` cannot look for files: those of this commit are not known")
        try:
            return sorted(one for one in self._now.tree.blobs if matches_any([path], [one]))
        except GlobInvalid as error:
            fail(node.place, f"`include`: {error}")


def resolve_includes(content: bytes, now: PipelineContext, warn: Warn) -> MappingNode:
    """The file with those that it includes, themselves complete. Raises FilesWanted while their text is not known."""
    including = _IncludeResolver(now, warn)
    top = including.resolve_file(content, "", ())
    if including.required_paths:
        raise IncludesRequired(frozenset(including.required_paths))
    return top
