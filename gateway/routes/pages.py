"""Pages of lists."""

from contracts.builds import PageDurations
from contracts.identity import (
    PageUsers,
)
from contracts.projects import (
    PageProjects,
    PageSecrets,
)
from gateway import paging
from gateway.dialects import free_commit as fc
from gateway.routes.patching import page

PAGES = (
    page("/developer/paginations/project", PageProjects, fc.PROJECT_PAGE),
    page("/developer/paginations/developer", PageUsers, fc.DEVELOPER_PAGE),
    page("/developer/paginations/secret", PageSecrets, fc.SECRET_PAGE),
    page("/developer/statistics/sum/duration", PageDurations, fc.DURATION_PAGE, parts=(paging.at_once,)),
)
