"""Files of the commit and paths changed by it, for rules and cache keys that use them."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import re2

from libs.globs import glob_to_regex
from services.builds.pipeline.rules.patterns import MAX_PATTERN_MEMORY_BYTES

# keywords that need the list of files of the commit
TREE_KEYWORDS = (b"changes", b"exists", b"files")
MAX_GLOBS = 50
MAX_GLOB_LENGTH = 1000  # characters


class GlobInvalid(Exception):
    """A glob is invalid or exceeds a limit. The message says why."""


def needs_tree(content: bytes) -> bool:
    """Return whether compiling the spec file may need the list of files of the commit."""
    return any(keyword in content for keyword in TREE_KEYWORDS) or (b"include" in content and b"*" in content)


@dataclass(frozen=True, slots=True)
class RepositoryTree:
    blobs: Mapping[str, str] = field(default_factory=dict)  # path -> git blob id
    changed_paths: frozenset[str] | None = None  # None: unknown, for example for the first commit

    def content_key(self, paths: Iterable[str]) -> str:
        """Return a hash that changes with the content of these files, or an empty text if none of them exists."""
        entries = [f"{path}\0{self.blobs[path]}" for path in paths if path in self.blobs]
        return hashlib.sha256("\n".join(entries).encode()).hexdigest()[:40] if entries else ""


def matches_any(globs: Sequence[str], paths: Iterable[str]) -> bool:
    """Return whether any glob matches any path, in linear time. Raises GlobInvalid."""
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
        raise GlobInvalid(f"the path {glob} is not valid") from None
