"""The settings of a project for builds that webhooks start."""

from enum import StrEnum

from contracts.messages import Command, Message


class SupersededBuilds(StrEnum):
    """Which builds are canceled when a newer push of their branch is built. Only builds of pushes are."""

    KEEP = "keep"  # none
    WAITING = "waiting"  # builds that no runner has started
    ALL = "all"  # running builds, too


class PullRequestBuilds(StrEnum):
    """Which pull and merge requests are built."""

    NONE = "none"
    BRANCHES = "branches"  # those of branches of the repository
    FORKS = "forks"  # those of forks, too, after the approval of a maintainer


class BuildTriggers(Message):
    """What webhooks start and cancel in a project."""

    superseded_builds: SupersededBuilds = SupersededBuilds.KEEP  # `keep`, `waiting` or `all`: canceled by a newer push
    build_tags: bool = False  # a push of a tag starts a build
    build_pull_requests: PullRequestBuilds = PullRequestBuilds.NONE  # `none`, `branches`, or `forks`, too


class ChangeTriggers(Command):
    """Change what webhooks start and cancel in a project. None: unchanged. Errors: PROJECT_TRIGGERS_INVALID."""

    project_id: int
    superseded_builds: SupersededBuilds | None = None  # `keep`, `waiting` or `all`
    build_tags: bool | None = None
    build_pull_requests: PullRequestBuilds | None = None  # `none`, `branches` or `forks`
