"""Pull requests of GitHub, Gitea and Forgejo, and merge requests of GitLab, whose commits are built."""

from contracts.messages import Message


class PullRequest(Message):
    """A pull or merge request, as reported by the forge."""

    number: int  # number at the forge
    title: str  # the title in one line, shortened
    source_branch: str  # name of the branch with the commits
    target_branch: str  # name of the branch into which they are to be merged
    is_fork: bool  # the source branch is not in the project's repository
