"""`include: local`: merge other files of the same commit under the file that includes them."""

from collections.abc import Iterator, Mapping, Sequence

from services.builds.pipeline.context import PipelineContext
from services.builds.pipeline.document.ast_nodes import MappingNode, Node, Position, ScalarNode, as_list, as_text, fail
from services.builds.pipeline.document.deep_merge import DeepMerger, without_keyword
from services.builds.pipeline.document.yaml_reader import read_yaml
from services.builds.pipeline.rules import conditions
from services.builds.pipeline.rules.conditions import Warn
from services.builds.pipeline.rules.repository_tree import GlobInvalid, matches_any
from services.builds.pipeline.variables import context_values, expand, parse_variables

MAX_INCLUDED_FILES = 100
YAML_SUFFIXES = (".yml", ".yaml")
UNSUPPORTED_SOURCES = ("remote", "template", "project", "component", "artifact")
SUPPORTED_KEYWORDS = {"local", "rules"}


class IncludesRequired(Exception):
    """Compiling the pipeline file needs the content of the files in `paths`."""

    def __init__(self, paths: frozenset[str]) -> None:
        super().__init__()
        self.paths = paths


class _IncludeResolver:
    def __init__(self, context: PipelineContext, warn: Warn) -> None:
        self._context = context
        self._warn = warn
        self._merging = DeepMerger("include")
        self._files = 0
        self.required_paths: set[str] = set()

    def resolve_file(self, content: bytes, name: str, chain: Sequence[str]) -> MappingNode:
        """Return the file merged over its includes.

        A later include overrides an earlier one, and the file overrides all includes.
        """
        top = read_yaml(content, self._warn, name)
        result: MappingNode | None = None
        for position, path in self._include_paths(top):
            if path in chain:
                fail(position, f"`include` forms a cycle: {path}")
            found = self._resolve_include(position, path, (*chain, path))
            result = found if result is None or found is None else self._merging.merge(result, found)
        own_content = without_keyword(top, "include")
        return own_content if result is None else self._merging.merge(result, own_content)

    def _resolve_include(self, position: Position, path: str, chain: Sequence[str]) -> MappingNode | None:
        self._files += 1
        if self._files > MAX_INCLUDED_FILES:
            fail(position, f"more than {MAX_INCLUDED_FILES} files are included")
        if path not in self._context.files:
            self.required_paths.add(path)
            return None
        content = self._context.files[path]
        if content is None:
            fail(position, f"`include` names the file {path}, which the commit does not have")
        return self.resolve_file(content, path, chain)

    def _include_paths(self, top: MappingNode) -> Iterator[tuple[Position, str]]:
        node = top.get("include")
        if node is None:
            return
        values = self._variable_values(top)
        for entry in as_list(node):
            if (written := self._local_path_node(entry, values)) is not None:
                yield from ((written.position, path) for path in self._matching_paths(written, values))

    def _variable_values(self, top: MappingNode) -> Mapping[str, str]:
        """Return the values for include paths: predefined variables, the file's scalar variables, and the launch's."""
        node = top.get("variables")
        found = node.members if isinstance(node, MappingNode) else {}
        plain = {key: value for key, value in found.items() if isinstance(value, ScalarNode)}
        variables = parse_variables(MappingNode(top.position, plain, top.keys), "`variables`")
        return context_values(self._context, variables.values())

    def _local_path_node(self, node: Node, values: Mapping[str, str]) -> Node | None:
        """Return the node with the path of a local file, or None if the entry is unsupported or excluded by rules."""
        if not isinstance(node, MappingNode):
            written = as_text(node, "`include`")
            if written.startswith(("http://", "https://")):
                self._warn(f"{node.position}: `include` of another server's file is not supported and has no effect")
                return None
            return node
        for keyword in UNSUPPORTED_SOURCES:
            if keyword in node.members:
                self._warn(f"{node.position_of(keyword)}: `include: {keyword}` is not supported and has no effect")
                return None
        for keyword in node.members.keys() - SUPPORTED_KEYWORDS:
            self._warn(f"{node.position_of(keyword)}: `{keyword}` of an `include` is not supported and has no effect")
        if (rules := node.get("rules")) is not None:
            rule = conditions.match_rules(rules, "`include`", self._context, values, self._warn)
            if rule is None or rule.when == "never":
                return None
        written_node = node.get("local")
        if written_node is None:
            fail(node.position, "`include` names no `local` file")
        return written_node

    def _matching_paths(self, node: Node, values: Mapping[str, str]) -> Sequence[str]:
        path = expand(as_text(node, "`include`"), values).removeprefix("./").lstrip("/")
        if not path.endswith(YAML_SUFFIXES):
            fail(node.position, f"`include` takes files whose names end with {' or '.join(YAML_SUFFIXES)}, not {path}")
        if "*" not in path:
            return [path]
        if self._context.tree is None:
            fail(node.position, "`include` cannot match patterns: the commit's files are unknown")
        try:
            return sorted(
                path_in_tree for path_in_tree in self._context.tree.blobs if matches_any([path], [path_in_tree])
            )
        except GlobInvalid as error:
            fail(node.position, f"`include`: {error}")


def resolve_includes(content: bytes, context: PipelineContext, warn: Warn) -> MappingNode:
    """Return the file merged with everything it includes. Raises IncludesRequired while file contents are missing."""
    resolver = _IncludeResolver(context, warn)
    top = resolver.resolve_file(content, "", ())
    if resolver.required_paths:
        raise IncludesRequired(frozenset(resolver.required_paths))
    return top
