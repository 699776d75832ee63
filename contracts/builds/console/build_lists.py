"""Lists of builds across projects, newest first."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from contracts.builds.build import BuildStatus
from contracts.builds.console.build_overview import UserName
from contracts.messages import Message, Query, ReadModelRow
from contracts.paging import PageRequest

MAX_LISTED_PROJECTS = 100
MAX_RECENT_BUILDS = 50  # maximum number of builds of each project in ListRecentBuilds
MAX_BUILDS_PER_PAGE = 200
MAX_LISTED_DELIVERIES = 100


class BuildListRow(ReadModelRow):
    """Fields of BuildRow that the lists of builds show."""

    id: int = 0
    local_id: int = 0
    executor_id: str = ""
    project_id: int = 0
    project_name: str = ""
    status: BuildStatus = BuildStatus.QUEUED
    finished: bool = False
    priority: int = 0
    ref: str | None = None
    sha: str | None = None
    message: str = ""
    source: str = "web"
    initiator_id: int = 0
    runner: str | None = None
    exit_code: int | None = None
    exit_message: str | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None


class ListedBuild(BuildListRow):
    """A build in a list. `message` is the first line of the commit message, shortened to 200 characters."""

    initiator: UserName


class ListBuilds(PageRequest):
    """List builds of all projects that the user may see, newest first. Answer: Page of ListedBuild."""

    limit: int = Field(default=50, ge=1, le=MAX_BUILDS_PER_PAGE)
    projects_id: Annotated[tuple[int, ...], Field(max_length=MAX_LISTED_PROJECTS)] = ()  # empty: all projects
    statuses: Annotated[tuple[BuildStatus, ...], Field(max_length=len(BuildStatus))] = ()  # empty: all statuses
    sources: Annotated[tuple[str, ...], Field(max_length=10)] = ()  # as in QueueBuild, such as `push`; empty: all
    ref: str | None = Field(default=None, max_length=1024)  # name of a branch or tag, or refs/...
    initiator_id: int | None = None
    since: datetime | None = None  # earliest time of the launch
    until: datetime | None = None  # the launch was before this time
    # webhook deliveries that launched the builds; empty: all builds
    deliveries_id: Annotated[tuple[str, ...], Field(max_length=MAX_LISTED_DELIVERIES)] = ()


class ListRecentBuilds(Query):
    """List the newest builds of several projects. Answer: RecentBuilds.

    Projects without builds, and those that the user may not see, are left out.
    """

    projects_id: Annotated[tuple[int, ...], Field(max_length=MAX_LISTED_PROJECTS)]
    limit: int = Field(default=30, ge=1, le=MAX_RECENT_BUILDS)  # maximum number of builds of each project


class ProjectBuilds(Message):
    project_id: int
    builds: tuple[ListedBuild, ...]  # newest first


class RecentBuilds(Message):
    projects: tuple[ProjectBuilds, ...]
