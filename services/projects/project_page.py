"""The paged list of projects, with columns of the projects and of their last builds.

The columns of the last build come from another projection than the columns of the project.
"""

from contracts.messages import Page, Payload, ReadModelRow
from contracts.paging import Filter
from contracts.projects import LastBuild, ListProjectsPage
from libs.projections.filters import (
    Column,
    Columns,
    Condition,
    build_condition,
    build_order,
    combine_conditions,
    match_all,
    parse_datetime,
    parse_number,
)
from libs.projections.paging import RowPage, fetch_rows, select_rows
from libs.service.declaration import Context
from services.projects.build_activity import FinishedBuildRow, load_last_builds
from services.projects.permissions.access import filter_visible
from services.projects.projections import ProjectRow

PROJECT_COLUMNS: Columns = {
    "id": Column("id", parse_number),
    "project_id": Column("id", parse_number),
    "project_name": Column("name"),
}
LAST_BUILD_COLUMNS: Columns = {
    "build_last_exit_code": Column("exit_code", parse_number),
    "build_last_exit_message": Column("exit_message"),
    "build_last_created_at": Column("created_at", parse_datetime),
}


class ProjectNameRow(ReadModelRow):
    id: int
    name: str


async def list_projects_page(ctx: Context, query: ListProjectsPage) -> Page:
    projects = ctx.read_model(ProjectRow).select(ProjectNameRow)
    parts: list[Condition] = []
    for column_filter in query.filters:
        if column := PROJECT_COLUMNS.get(column_filter.column):
            parts.append(build_condition(column_filter, column))
        elif column := LAST_BUILD_COLUMNS.get(column_filter.column):
            parts.append(await match_last_build(ctx, column_filter, column))
    condition = match_all(combine_conditions(query, parts), await filter_visible(ctx))
    if query.sort_by in LAST_BUILD_COLUMNS:
        page = await sort_by_last_build(ctx, query, await projects.find(condition))
    else:
        page = await fetch_rows(projects, query, build_order(query, PROJECT_COLUMNS), condition)
    last_builds = await load_last_builds(ctx, [row.id for row in page.rows])
    return page.render(to_summary(row, last_builds.get(row.id, LastBuild())) for row in page.rows)


async def match_last_build(ctx: Context, column_filter: Filter, column: Column) -> Condition:
    """Return a condition for projects whose last finished build matches the filter.

    The columns of the last build are NULL for a project without finished builds.
    """
    condition = build_condition(column_filter, column)
    if column_filter.operator == "eq" and "null" in column_filter.values:
        others = await ctx.read_model(FinishedBuildRow).latest_per("project_id", "id", {"$nor": [condition]})
        return {"id": {"$nin": [row.project_id for row in others]}}
    matching = await ctx.read_model(FinishedBuildRow).latest_per("project_id", "id", condition)
    return {"id": {"$in": [row.project_id for row in matching]}}


async def sort_by_last_build(
    ctx: Context, query: ListProjectsPage, rows: list[ProjectNameRow]
) -> RowPage[ProjectNameRow]:
    """Return the rows of the page, ordered by a column of the last build. A missing value counts as the lowest.

    They are ordered here, because no index has the builds' columns together with the projects'.
    """
    field = LAST_BUILD_COLUMNS[query.sort_by].field
    last_builds = await load_last_builds(ctx, [row.id for row in rows])

    def sort_key(row: ProjectNameRow) -> tuple[bool, object, int]:
        value = getattr(last_builds.get(row.id), field, None)
        return value is not None, value, row.id

    return select_rows(rows, query, sort_key, descending=query.descending)


def to_summary(row: ProjectNameRow, last_build: LastBuild) -> Payload:
    return {
        "project_id": row.id,
        "project_name": row.name,
        "build_last_exit_code": last_build.exit_code,
        "build_last_exit_message": last_build.exit_message,
        "build_last_created_at": last_build.created_at,
    }
