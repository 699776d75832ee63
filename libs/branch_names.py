"""Names of branches, as git accepts them."""

import re

# rules of git-check-ref-format(1)
INVALID_BRANCH_PATTERN = re.compile(r"^[-./]|[\s\x00-\x1f\x7f~^:?*\[\\]|\.\.|//|/\.|@\{|\.lock(?:/|$)|[./]$|^@$")
BRANCH_REF_PREFIX = "refs/heads/"


def is_branch_name(text: str) -> bool:
    """Return whether git accepts the text as a branch name."""
    return text != "" and not INVALID_BRANCH_PATTERN.search(text)
