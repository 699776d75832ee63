"""Queries about projects, and their answers."""

from datetime import datetime

from pydantic import Field

from contracts.messages import Message, Query
from contracts.paging import FilteredPageRequest, PageRequest
from contracts.projects.forge import ForgeKind
from contracts.projects.permissions import ProjectAccess, ProjectAction, Visibility
from contracts.projects.retention import RetentionLimits
from contracts.projects.webhooks.triggers import BuildTriggers


class LastBuild(Message):
    """The last finished build of a project. All fields are None before the first finished build."""

    exit_code: int | None = None
    exit_message: str | None = None
    created_at: datetime | None = None


class ProjectView(RetentionLimits, BuildTriggers):
    id: int
    name: str
    description: str | None
    repository: str
    branch: str
    spec_file_path: str
    keep_number_build: int | None
    allow_concurrent_execution: bool
    signature_key: str | None = Field(repr=False)  # None unless revealed
    available_steps: tuple[str, ...]
    credential_id: int | None
    secrets_id: tuple[int, ...]
    builds_id: tuple[int, ...]
    developers_id: tuple[int, ...]
    executor_id: int | None
    last_build: LastBuild
    owner_alias: str
    owner_user_id: int | None = None  # set if a user is the owner
    company_id: int | None = None  # set if a company is the owner
    alias: str
    protected_branches: tuple[str, ...]
    visibility: Visibility = Visibility.INTERNAL
    badges: bool = False  # the result of the last build is public
    forge_kind: ForgeKind = ForgeKind.NONE
    forge_api_url: str = ""
    forge_secret: str = ""
    created_at: datetime


class GetProject(Query):
    """Get a project by id. Answer: ProjectView. Errors: PROJECT_NOT_FOUND."""

    project_id: int
    reveal: bool = False  # include the signature key


class GetProjectByAlias(Query, wire_name="FindProject"):
    """Get a project by owner and alias (case-insensitive). Answer: ProjectView.

    Errors: PROJECT_NOT_FOUND, and FORBIDDEN if the actor sees the project, but may not do `action`.
    """

    owner_alias: str
    alias: str
    action: ProjectAction = ProjectAction.READ


class ListProjects(PageRequest):
    """List the projects that the actor may see, by id. Answer: Page of ProjectView."""

    reveal: bool = False  # include the signature keys


class GetProjectCount(Query, wire_name="CountProjects"):
    """Get the number of projects that a company owns. Answer: ProjectCount."""

    company_id: int


class ProjectCount(Message):
    count: int


class ListProjectsPage(FilteredPageRequest, wire_name="PageProjects"):
    """List the projects that the actor may see. Answer: Page.

    Columns to filter and sort by: project_id, project_name, build_last_{exit_code,exit_message,created_at}, id.
    """


class ListBadgeProjects(Query):
    """List the projects that publish the results of their builds, by id. Answer: BadgeProjects."""

    owner_alias: str | None = None  # None: projects of all owners
    alias: str | None = None  # None: all projects of the owner
    limit: int = Field(ge=1)


class BadgeProject(Message):
    id: int
    owner_alias: str
    alias: str


class BadgeProjects(Message):
    projects: tuple[BadgeProject, ...]


class ListHiddenProjects(Query):
    """List the private projects that the actor may not see. Answer: HiddenProjects."""


class HiddenProjects(Message):
    projects_id: tuple[int, ...]


class GetLaunchSettings(Query):
    """Get the settings that a build copies at launch, and whether the actor may launch builds.

    Answer: LaunchSettings. Errors: PROJECT_NOT_FOUND.
    """

    project_id: int


class LaunchSettings(ProjectAccess, RetentionLimits, BuildTriggers):
    allowed: bool  # whether the actor may launch builds
    project_id: int
    name: str
    owner_alias: str
    alias: str
    repository: str
    branch: str
    spec_file_path: str
    keep_number_build: int | None
    allow_concurrent_execution: bool
    protected_branches: tuple[str, ...]
    credential_id: int | None
