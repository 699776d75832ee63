"""The files of the commit and what changed in them, as far as rules and keys of caches ask for it."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import re2

from libs.globs import glob_to_regex
from services.builds.pipeline.rules.patterns import MAX_PATTERN_MEMORY_BYTES

TREE_KEYWORDS = (b"changes", b"exists", b"files")  # who never says them never asks
MAX_GLOBS = 50
MAX_GLOB_LENGTH = 1000  # characters of a glob


class GlobInvalid(Exception):
    """The text says what is wrong with it."""


def needs_tree(content: bytes) -> bool:
    """Whether a spec file may want to know of other files than those that it names."""
    return any(word in content for word in TREE_KEYWORDS) or (b"include" in content and b"*" in content)


@dataclass(frozen=True, slots=True)
class RepositoryTree:
    blobs: Mapping[str, str] = field(default_factory=dict)  # path -> id of its content
    changed_paths: frozenset[str] | None = None  # paths; None: not known, as for the first commit

    def content_key(self, paths: Iterable[str]) -> str:
        """Another one whenever the content of one of these files is; nothing if there is none of them."""
        found = [f"{path}\0{self.blobs[path]}" for path in paths if path in self.blobs]
        return hashlib.sha256("\n".join(found).encode()).hexdigest()[:40] if found else ""


def matches_any(globs: Sequence[str], paths: Iterable[str]) -> bool:
    """In time linear to the paths, whatever the patterns."""
    if len(globs) > MAX_GLOBS:
        raise GlobInvalid(f"more than {MAX_GLOBS} paths")
    patterns = [_compile_glob(glob) for glob in globs]
    return any(pattern.fullmatch(path) for path in paths for pattern in patterns)


@lru_cache(maxsize=256)
def _compile_glob(glob: str) -> "re2._Regexp":
    if len(glob) > MAX_GLOB_LENGTH:
        raise GlobInvalid(f"a path is longer than {MAX_GLOB_LENGTH} characters")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PATTERN_MEMORY_BYTES
    options.dot_nl = True
    try:
        return re2.compile(glob_to_regex(glob.removeprefix("./").removeprefix("/")), options)
    except re2.error:
        raise GlobInvalid(f"the path {glob} makes no sense") from None
