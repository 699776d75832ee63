"""One mapping laid over another one: `extends`, and files that include others."""

from services.builds.pipeline.nodes import Block, wrong
from services.builds.pipeline.reading import MOST_NODES


class Merging:
    """Counts what it merges, so that a few lines do not become a mountain."""

    def __init__(self, keyword: str) -> None:
        self._keyword = keyword
        self._values = 0

    def merged(self, under: Block, over: Block) -> Block:
        """Mappings are merged however deep; all else is replaced."""
        self._values += len(under.members) + len(over.members)
        if self._values > MOST_NODES:
            wrong(over.place, f"`{self._keyword}` brings more than {MOST_NODES} values")
        members = dict(under.members)
        for key, node in over.members.items():
            before = members.get(key)
            both = isinstance(before, Block) and isinstance(node, Block)
            members[key] = self.merged(before, node) if both else node  # type: ignore[arg-type]
        return Block(over.place, members, {**under.keys, **over.keys})


def without(source: Block, keyword: str) -> Block:
    return Block(source.place, {key: node for key, node in source.members.items() if key != keyword}, source.keys)
