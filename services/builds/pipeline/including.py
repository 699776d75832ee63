"""`include: local`: other files of the same commit, laid under the file that names them."""

from collections.abc import Iterator, Mapping, Sequence

from services.builds.pipeline import conditions
from services.builds.pipeline.conditions import Warn
from services.builds.pipeline.merging import Merging, without
from services.builds.pipeline.nodes import Block, Node, Place, Scalar, listed, text, wrong
from services.builds.pipeline.reading import read
from services.builds.pipeline.tree import GlobInvalid, any_matches
from services.builds.pipeline.variables import Situation, build_variables, declared, expand, with_meanings

MOST = 100  # files
ENDINGS = (".yml", ".yaml")
ELSEWHERE = ("remote", "template", "project", "component", "artifact")
BESIDE = {"local", "rules"}


class FilesWanted(Exception):
    """The text of these files of the commit is needed first."""

    def __init__(self, paths: frozenset[str]) -> None:
        super().__init__()
        self.paths = paths


class _Including:
    def __init__(self, now: Situation, warn: Warn) -> None:
        self._now = now
        self._warn = warn
        self._merging = Merging("include")
        self._files = 0
        self.wanted: set[str] = set()

    def file(self, content: bytes, name: str, chain: Sequence[str]) -> Block:
        """With all that it includes under it: of two files the later one wins, and the including one over both."""
        top = read(content, self._warn, name)
        result: Block | None = None
        for place, path in self._paths(top):
            if path in chain:
                wrong(place, f"`include` leads in a circle: {path}")
            found = self._included(place, path, (*chain, path))
            result = found if result is None or found is None else self._merging.merged(result, found)
        own = without(top, "include")
        return own if result is None else self._merging.merged(result, own)

    def _included(self, place: Place, path: str, chain: Sequence[str]) -> Block | None:
        self._files += 1
        if self._files > MOST:
            wrong(place, f"more than {MOST} files are included")
        if path not in self._now.files:
            self.wanted.add(path)
            return None
        content = self._now.files[path]
        if content is None:
            wrong(place, f"`include` names the file {path}, which the commit does not have")
        return self.file(content, path, chain)

    def _paths(self, top: Block) -> Iterator[tuple[Place, str]]:
        node = top.get("include")
        if node is None:
            return
        values = self._values(top)
        for one in listed(node):
            if (written := self._local(one, values)) is not None:
                yield from ((written.place, path) for path in self._meant(written, values))

    def _values(self, top: Block) -> Mapping[str, str]:
        """Of variables, those that are plainly there."""
        node = top.get("variables")
        found = node.members if isinstance(node, Block) else {}
        plain = {key: one for key, one in found.items() if isinstance(one, Scalar)}
        variables = declared(Block(top.place, plain, top.keys), "`variables`")
        return with_meanings(build_variables(self._now), variables.values())

    def _local(self, node: Node, values: Mapping[str, str]) -> Node | None:
        """Where it says which file of the commit it means; nothing if it means none."""
        if not isinstance(node, Block):
            written = text(node, "`include`")
            if written.startswith(("http://", "https://")):
                self._warn(f"{node.place}: `include` of another server's file is not supported and has no effect")
                return None
            return node
        for keyword in ELSEWHERE:
            if keyword in node.members:
                self._warn(f"{node.at(keyword)}: `include: {keyword}` is not supported and has no effect")
                return None
        for keyword in node.members.keys() - BESIDE:
            self._warn(f"{node.at(keyword)}: `{keyword}` of an `include` is not supported and has no effect")
        if (rules := node.get("rules")) is not None:
            ruling = conditions.ruled(rules, "`include`", self._now, values, self._warn)
            if ruling is None or ruling.when == "never":
                return None
        written_node = node.get("local")
        if written_node is None:
            wrong(node.place, "`include` names no `local` file")
        return written_node

    def _meant(self, node: Node, values: Mapping[str, str]) -> Sequence[str]:
        path = expand(text(node, "`include`"), values).removeprefix("./").lstrip("/")
        if not path.endswith(ENDINGS):
            wrong(node.place, f"`include` takes files whose names end with {' or '.join(ENDINGS)}, not {path}")
        if "*" not in path:
            return [path]
        if self._now.tree is None:
            wrong(node.place, "`include` cannot look for files: those of this commit are not known")
        try:
            return sorted(one for one in self._now.tree.blobs if any_matches([path], [one]))
        except GlobInvalid as error:
            wrong(node.place, f"`include`: {error}")


def included(content: bytes, now: Situation, warn: Warn) -> Block:
    """The file with those that it includes, themselves complete. Raises FilesWanted while their text is not known."""
    including = _Including(now, warn)
    top = including.file(content, "", ())
    if including.wanted:
        raise FilesWanted(frozenset(including.wanted))
    return top
