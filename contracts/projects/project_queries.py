"""Queries about projects, and their answers."""

from datetime import datetime

from pydantic import Field

from contracts.messages import Message, Query
from contracts.paging import FilteredPageRequest, PageRequest


class LastBuild(Message):
    """The last finished build of a project. All fields are None before the first finished build."""

    exit_code: int | None = None
    exit_message: str | None = None
    created_at: datetime | None = None


class ProjectView(Message):
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
    created_at: datetime


class GetProject(Query):
    """Get a project by id. Answer: ProjectView. Errors: PROJECT_NOT_FOUND."""

    project_id: int
    reveal: bool = False  # include the signature key


class GetProjectByAlias(Query, wire_name="FindProject"):
    """Get a project by owner and alias (case-insensitive). Answer: ProjectView. Errors: PROJECT_NOT_FOUND."""

    owner_alias: str
    alias: str


class ListProjects(PageRequest):
    """List all projects, by id. Answer: Page of ProjectView."""

    reveal: bool = False  # include the signature keys


class GetProjectCount(Query, wire_name="CountProjects"):
    """Get the number of projects that a company owns. Answer: ProjectCount."""

    company_id: int


class ProjectCount(Message):
    count: int


class ListProjectsPage(FilteredPageRequest, wire_name="PageProjects"):
    """List projects.

    Columns to filter and sort by: project_id, project_name, build_last_{exit_code,exit_message,created_at}, id.
    """


class GetLaunchSettings(Query):
    """Get the settings that a build copies at launch, and whether the actor may launch builds.

    Answer: LaunchSettings. Errors: PROJECT_NOT_FOUND.
    """

    project_id: int


class LaunchSettings(Message):
    allowed: bool  # whether the actor may launch builds
    project_id: int
    name: str
    owner_alias: str
    company_id: int | None = None
    alias: str
    repository: str
    branch: str
    spec_file_path: str
    keep_number_build: int | None
    allow_concurrent_execution: bool
    developers_id: tuple[int, ...]
    protected_branches: tuple[str, ...]
    credential_id: int | None
