"""Routes of paged lists with filters and order."""

from typing import Annotated

from fastapi import Security

from contracts.builds import ListBuildDurations
from contracts.identity import ListUsersPage
from contracts.projects import ListProjectsPage, ListSecretsPage
from gateway.adapters.free_commit.list_models import DEVELOPER_PAGE, DURATION_PAGE, PROJECT_PAGE, SECRET_PAGE
from gateway.adapters.free_commit.paging import read_unlimited_page_fields
from gateway.dependencies import developer
from gateway.routers.free_commit.page_routes import forward_page
from gateway.routers.prefix_router import free_commit_router
from libs.eventstore.decider import Actor

ProjectReader = Annotated[Actor, Security(developer, scopes=["PROJECT_READ"])]
UserReader = Annotated[Actor, Security(developer, scopes=["USER_READ"])]
SecretReader = Annotated[Actor, Security(developer, scopes=["SECRET_READ"])]
BuildReader = Annotated[Actor, Security(developer, scopes=["BUILD_READ"])]

pages = free_commit_router("/api/developer/paginations", "Lists")
statistics = free_commit_router("/api/developer/statistics", "Lists")

forward_page(
    pages, "/project", ListProjectsPage, ProjectReader, "List the projects that the user may see.", PROJECT_PAGE
)
forward_page(
    pages,
    "/developer",
    ListUsersPage,
    UserReader,
    "List users. Columns to filter and sort by: developer_id, user_username, developer_email, user_role, id.",
    DEVELOPER_PAGE,
)
forward_page(
    pages,
    "/secret",
    ListSecretsPage,
    SecretReader,
    "List the secrets that the user may see. Columns to filter and sort by: secret_id, secret_name, secret_env, "
    "secret_scope, id.",
    SECRET_PAGE,
)
forward_page(
    statistics,
    "/sum/duration",
    ListBuildDurations,
    BuildReader,
    "List the total duration of builds in seconds per month, oldest month first.",
    DURATION_PAGE,
    read_fields=read_unlimited_page_fields,
)
