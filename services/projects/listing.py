"""The page of projects: columns of the projects themselves, and of their last builds, which lie in another view."""

from contracts.messages import Page, Payload, Row
from contracts.paging import Filter
from contracts.projects import LastBuild, PageProjects
from libs.paging import Column, Columns, Condition, bounds, condition, moment, number, order, sliced, together
from libs.service import Context
from services.projects.activity import last_builds_of

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


class Listed(Row):
    """What the page shows of a project itself."""

    id: int
    name: str


async def page_projects(ctx: Context, query: PageProjects) -> Page:
    projects = ctx.rows("project").only(Listed)
    parts: list[Condition] = []
    for one in query.filters:
        if one.column in OWN:
            parts.append(condition(one, OWN[one.column]))
        elif one.column in OF_LAST_BUILD:
            parts.append(await by_last_build(ctx, one, OF_LAST_BUILD[one.column]))
    wanted = together(query, parts)
    if query.sort_by in OF_LAST_BUILD:
        every = await projects.find(wanted, [("id", 1)])
        rows, total = await sorted_by_last_build(ctx, query, every), len(every)
    else:
        rows, total = await sliced(projects, query, wanted, order(query, OWN))
    last = await last_builds_of(ctx, [row.id for row in rows])
    return Page(rows=tuple(listed(row, last.get(row.id, LastBuild())) for row in rows), total=total)


async def by_last_build(ctx: Context, one: Filter, column: Column) -> Condition:
    """The projects whose last build satisfies the filter; a project without builds has NULL in these columns."""
    wanted = condition(one, column)
    if one.operator == "eq" and "null" in one.values:
        others = await ctx.rows("project_builds").latest("project_id", "id", {"$nor": [wanted]})
        return {"id": {"$nin": [row.project_id for row in others]}}
    found = await ctx.rows("project_builds").latest("project_id", "id", wanted)
    return {"id": {"$in": [row.project_id for row in found]}}


async def sorted_by_last_build(ctx: Context, query: PageProjects, rows: list[Listed]) -> list[Listed]:
    """NULL comes before everything, as in SQL."""
    field = OF_LAST_BUILD[query.sort_by].field
    last = await last_builds_of(ctx, [row.id for row in rows])

    def value(row: Listed) -> tuple[bool, object, int]:
        found = getattr(last.get(row.id), field, None)
        return found is not None, found, row.id

    skip, limit = bounds(query)
    return sorted(rows, key=value, reverse=query.descending)[skip : skip + limit]


def listed(row: Listed, last: LastBuild) -> Payload:
    return {
        "project_id": row.id,
        "project_name": row.name,
        "build_last_exit_code": last.exit_code,
        "build_last_exit_message": last.exit_message,
        "build_last_created_at": last.created_at,
    }
