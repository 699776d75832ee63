"""Deep merge of mappings, for `extends` and `include`."""

from services.builds.pipeline.document.ast_nodes import MappingNode, fail
from services.builds.pipeline.document.yaml_reader import MAX_NODES


class DeepMerger:
    """Merges mappings. Limits the total number of merged values, so that a small file cannot expand without bound."""

    def __init__(self, keyword: str) -> None:
        self._keyword = keyword
        self._values = 0

    def merge(self, base: MappingNode, override: MappingNode) -> MappingNode:
        """Merge two mappings recursively. Values of any other type are replaced."""
        self._values += len(base.members) + len(override.members)
        if self._values > MAX_NODES:
            fail(override.position, f"`{self._keyword}` merges more than {MAX_NODES} values")
        members = dict(base.members)
        for key, node in override.members.items():
            before = members.get(key)
            both = isinstance(before, MappingNode) and isinstance(node, MappingNode)
            members[key] = self.merge(before, node) if both else node  # type: ignore[arg-type]
        return MappingNode(override.position, members, {**base.keys, **override.keys})


def without_keyword(source: MappingNode, keyword: str) -> MappingNode:
    return MappingNode(
        source.position, {key: node for key, node in source.members.items() if key != keyword}, source.keys
    )
