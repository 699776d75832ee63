"""Routes of paged lists with filters and order."""

from contracts.builds import ListBuildDurations
from contracts.identity import ListUsersPage
from contracts.projects import ListProjectsPage, ListSecretsPage
from gateway.adapters.free_commit import paging
from gateway.adapters.free_commit.list_models import DEVELOPER_PAGE, DURATION_PAGE, PROJECT_PAGE, SECRET_PAGE
from gateway.routes.route_builders import list_page

PAGES = (
    list_page("/developer/paginations/project", ListProjectsPage, PROJECT_PAGE),
    list_page("/developer/paginations/developer", ListUsersPage, DEVELOPER_PAGE),
    list_page("/developer/paginations/secret", ListSecretsPage, SECRET_PAGE),
    list_page(
        "/developer/statistics/sum/duration", ListBuildDurations, DURATION_PAGE, parts=(paging.show_all_by_default,)
    ),
)
