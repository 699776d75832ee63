"""The settings of a project for builds that webhooks start."""

from enum import StrEnum

from contracts.messages import Command, Message


class SupersededBuilds(StrEnum):
    """Which builds of earlier pushes are canceled by a build of a newer push of the same branch or pull request."""

    KEEP = "keep"  # no builds
    WAITING = "waiting"  # builds that no runner has started
    ALL = "all"  # all unfinished builds


class PullRequestBuilds(StrEnum):
    """Which pull and merge requests are built."""

    NONE = "none"
    BRANCHES = "branches"  # only pull requests whose source branch is in the repository
    FORKS = "forks"  # also pull requests of forks, after the approval of a maintainer


class BuildTriggers(Message):
    """What webhooks start and cancel in a project."""

    superseded_builds: SupersededBuilds = SupersededBuilds.KEEP  # which builds a newer push cancels
    build_tags: bool = False  # whether a push of a tag starts a build
    build_pull_requests: PullRequestBuilds = PullRequestBuilds.NONE  # which pull requests are built


class ChangeTriggers(Command):
    """Change what webhooks start and cancel in a project. None: unchanged. Errors: PROJECT_NOT_FOUND."""

    project_id: int
    superseded_builds: SupersededBuilds | None = None  # `keep`, `waiting` or `all`
    build_tags: bool | None = None
    build_pull_requests: PullRequestBuilds | None = None  # `none`, `branches` or `forks`
