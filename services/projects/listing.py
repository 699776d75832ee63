"""The page of projects: columns of the projects themselves, and of their last builds, which lie in another view."""

from contracts.messages import Page, Payload
from contracts.paging import Filter
from contracts.projects import PageProjects
from libs.paging import Column, Columns, Condition, bounds, condition, moment, number, order, sliced, together
from libs.rows import Rows
from libs.service import Context
from services.projects.activity import ActivityRow
from services.projects.projects import activities_of
from services.projects.views import ProjectRow

OWN: Columns = {
    "id": Column("id", number),
    "project_id": Column("id", number),
    "project_name": Column("name"),
}
OF_LAST_BUILD: Columns = {
    "build_last_exit_code": Column("exit_code", number),
    "build_last_exit_message": Column("exit_message"),
    "build_last_created_at": Column("created_at", moment),
}


async def page_projects(ctx: Context, query: PageProjects) -> Page:
    projects = ctx.rows("project")
    parts: list[Condition] = []
    for one in query.filters:
        if one.column in OWN:
            parts.append(condition(one, OWN[one.column]))
        elif one.column in OF_LAST_BUILD:
            parts.append(await by_last_build(ctx.rows("project_activity"), one, OF_LAST_BUILD[one.column]))
    wanted = together(query, parts)
    if query.sort_by in OF_LAST_BUILD:
        every = await projects.find(wanted, [("id", 1)])
        rows, total = await sorted_by_last_build(ctx, query, every), len(every)
    else:
        rows, total = await sliced(projects, query, wanted, order(query, OWN))
    activities = await activities_of(ctx, [row.id for row in rows])
    return Page(
        rows=tuple(listed(row, activities.get(row.id, ActivityRow())) for row in rows),
        total=total,
    )


async def by_last_build(activities: Rows[ActivityRow], one: Filter, column: Column) -> Condition:
    """The projects whose last build satisfies the filter; a project without builds has NULL in these columns."""
    wanted = condition(one, column)
    if one.operator == "eq" and "null" in one.values:
        others = await activities.find({"$nor": [wanted]})
        return {"id": {"$nin": [row.project_id for row in others]}}
    found = await activities.find(wanted)
    return {"id": {"$in": [row.project_id for row in found]}}


async def sorted_by_last_build(ctx: Context, query: PageProjects, rows: list[ProjectRow]) -> list[ProjectRow]:
    """NULL comes before everything, as in SQL."""
    field = OF_LAST_BUILD[query.sort_by].field
    activities = await activities_of(ctx, [row.id for row in rows])

    def value(row: ProjectRow) -> tuple[bool, object, int]:
        found = getattr(activities.get(row.id), field, None)
        return found is not None, found, row.id

    skip, limit = bounds(query)
    return sorted(rows, key=value, reverse=query.descending)[skip : skip + limit]


def listed(row: ProjectRow, activity: ActivityRow) -> Payload:
    return {
        "project_id": row.id,
        "project_name": row.name,
        "build_last_exit_code": activity.exit_code,
        "build_last_exit_message": activity.exit_message,
        "build_last_created_at": activity.created_at,
    }
