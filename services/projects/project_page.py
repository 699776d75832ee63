"""The page of projects: columns of the projects themselves, and of their last builds, which lie in another view."""

from contracts.messages import Page, Payload, ReadModelRow
from contracts.paging import Filter
from contracts.projects import LastBuild, ListProjectsPage
from libs.projections.paging import (
    Column,
    Columns,
    Condition,
    build_condition,
    build_order,
    combine_conditions,
    fetch_slice,
    parse_datetime,
    parse_number,
    skip_and_limit,
)
from libs.service.declaration import Context
from services.projects.build_activity import load_last_builds

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
    """What the page shows of a project itself."""

    id: int
    name: str


async def page_projects(ctx: Context, query: ListProjectsPage) -> Page:
    projects = ctx.read_model("project").select(ProjectNameRow)
    parts: list[Condition] = []
    for one in query.filters:
        if one.column in PROJECT_COLUMNS:
            parts.append(build_condition(one, PROJECT_COLUMNS[one.column]))
        elif one.column in LAST_BUILD_COLUMNS:
            parts.append(await match_last_build(ctx, one, LAST_BUILD_COLUMNS[one.column]))
    wanted = combine_conditions(query, parts)
    if query.sort_by in LAST_BUILD_COLUMNS:
        every = await projects.find(wanted, [("id", 1)])
        rows, total = await sort_by_last_build(ctx, query, every), len(every)
    else:
        rows, total = await fetch_slice(projects, query, wanted, build_order(query, PROJECT_COLUMNS))
    last = await load_last_builds(ctx, [row.id for row in rows])
    return Page(rows=tuple(to_summary(row, last.get(row.id, LastBuild())) for row in rows), total=total)


async def match_last_build(ctx: Context, column_filter: Filter, column: Column) -> Condition:
    """The projects whose last build satisfies the filter; a project without builds has NULL in these columns."""
    wanted = build_condition(column_filter, column)
    if column_filter.operator == "eq" and "null" in column_filter.values:
        others = await ctx.read_model("project_builds").latest_per("project_id", "id", {"$nor": [wanted]})
        return {"id": {"$nin": [row.project_id for row in others]}}
    found = await ctx.read_model("project_builds").latest_per("project_id", "id", wanted)
    return {"id": {"$in": [row.project_id for row in found]}}


async def sort_by_last_build(ctx: Context, query: ListProjectsPage, rows: list[ProjectNameRow]) -> list[ProjectNameRow]:
    """NULL comes before everything, as in SQL."""
    field = LAST_BUILD_COLUMNS[query.sort_by].field
    last = await load_last_builds(ctx, [row.id for row in rows])

    def value(row: ProjectNameRow) -> tuple[bool, object, int]:
        found = getattr(last.get(row.id), field, None)
        return found is not None, found, row.id

    skip, limit = skip_and_limit(query)
    return sorted(rows, key=value, reverse=query.descending)[skip : skip + limit]


def to_summary(row: ProjectNameRow, last: LastBuild) -> Payload:
    return {
        "project_id": row.id,
        "project_name": row.name,
        "build_last_exit_code": last.exit_code,
        "build_last_exit_message": last.exit_message,
        "build_last_created_at": last.created_at,
    }
