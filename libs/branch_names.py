"""Names of branches and tags, as git accepts them."""

import re

# rules of git-check-ref-format(1)
INVALID_BRANCH_PATTERN = re.compile(r"^[-./]|[\s\x00-\x1f\x7f~^:?*\[\\]|\.\.|//|/\.|@\{|\.lock(?:/|$)|[./]$|^@$")
BRANCH_REF_PREFIX = "refs/heads/"
TAG_REF_PREFIX = "refs/tags/"
PULL_REQUEST_REF_PATTERN = re.compile(r"refs/(?:pull|merge-requests)/[1-9][0-9]*/head")


def is_branch_name(text: str) -> bool:
    """Return whether git accepts the text as the name of a branch or tag."""
    return text != "" and not INVALID_BRANCH_PATTERN.search(text)


def is_pull_request_ref(ref: str) -> bool:
    """Return whether the ref is the head of a pull request of GitHub or Gitea, or of a merge request of GitLab."""
    return PULL_REQUEST_REF_PATTERN.fullmatch(ref) is not None
