"""Which refs are protected by the patterns of a project."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from libs.branch_names import BRANCH_REF_PREFIX, TAG_REF_PREFIX


def is_protected_ref(ref: str, patterns: Sequence[str]) -> bool:
    """Return whether a branch or tag is protected.

    A pattern for tags begins with `refs/tags/`; others are for branches, so that a tag with the name of a
    protected branch is not protected. Refs of pull and merge requests are never protected.
    """
    if ref.startswith(TAG_REF_PREFIX):
        return any(pattern.startswith(TAG_REF_PREFIX) and fnmatchcase(ref, pattern) for pattern in patterns)
    branch = ref.removeprefix(BRANCH_REF_PREFIX)
    if branch.startswith("refs/"):
        return False
    return any(not pattern.startswith(TAG_REF_PREFIX) and fnmatchcase(branch, pattern) for pattern in patterns)
