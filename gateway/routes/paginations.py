"""Pages of lists."""

from contracts.builds import ListBuildDurations
from contracts.identity import (
    ListUsersPage,
)
from contracts.projects import (
    ListProjectsPage,
    ListSecretsPage,
)
from gateway.adapters.free_commit import models as fc
from gateway.adapters.free_commit import paging
from gateway.routes.route_builders import list_page

PAGES = (
    list_page("/developer/paginations/project", ListProjectsPage, fc.PROJECT_PAGE),
    list_page("/developer/paginations/developer", ListUsersPage, fc.DEVELOPER_PAGE),
    list_page("/developer/paginations/secret", ListSecretsPage, fc.SECRET_PAGE),
    list_page(
        "/developer/statistics/sum/duration", ListBuildDurations, fc.DURATION_PAGE, parts=(paging.show_all_by_default,)
    ),
)
