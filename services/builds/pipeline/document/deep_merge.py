"""One mapping laid over another one: `extends`, and files that include others."""

from services.builds.pipeline.document.ast_nodes import MappingNode, fail
from services.builds.pipeline.document.yaml_reader import MAX_NODES


class DeepMerger:
    """Counts what it merges, so that a few lines do not become a mountain."""

    def __init__(self, keyword: str) -> None:
        self._keyword = keyword
        self._values = 0

    def merge(self, base: MappingNode, override: MappingNode) -> MappingNode:
        """Mappings are merged however deep; all else is replaced."""
        self._values += len(base.members) + len(override.members)
        if self._values > MAX_NODES:
            fail(override.place, f"`{self._keyword}` brings more than {MAX_NODES} values")
        members = dict(base.members)
        for key, node in override.members.items():
            before = members.get(key)
            both = isinstance(before, MappingNode) and isinstance(node, MappingNode)
            members[key] = self.merge(before, node) if both else node  # type: ignore[arg-type]
        return MappingNode(override.place, members, {**base.keys, **override.keys})


def without_keyword(source: MappingNode, keyword: str) -> MappingNode:
    return MappingNode(source.place, {key: node for key, node in source.members.items() if key != keyword}, source.keys)
