"""Lists of builds across projects, newest first, read from indexes."""

import asyncio
from collections.abc import Mapping, Sequence

from contracts.builds import (
    BuildListRow,
    BuildRow,
    BuildStatus,
    ListBuilds,
    ListedBuild,
    ListRecentBuilds,
    ProjectBuilds,
    RecentBuilds,
    UserName,
)
from contracts.messages import Page
from libs.documents import Document
from libs.eventstore.decider import SYSTEM
from libs.permissions.rule import without_projects
from libs.projections.paging import fetch_rows
from libs.projections.read_model import ReadModel
from libs.service.declaration import Context
from services.builds.queries.project_access import list_hidden_projects

NEWEST_FIRST = (("id", -1),)
FINISHED_STATUSES = frozenset({BuildStatus.SUCCESS, BuildStatus.FAILED, BuildStatus.KILLED})
MAX_CONCURRENT_QUERIES = 10
MAX_TITLE_LENGTH = 200  # characters of the first line of a commit message
ID_DISORDER = 100  # ids are allocated before launches are recorded, so nearby ids can be out of order


async def list_builds(ctx: Context, query: ListBuilds) -> Page:
    """Return a page of the builds that the user may see and that match the query."""
    builds = ctx.read_model(BuildRow).select(BuildListRow)
    hidden = await list_hidden_projects(ctx)
    condition = _to_condition(query, hidden)
    if query.since:
        condition |= await _begin_at(builds, query)
    page = await fetch_rows(builds, query, NEWEST_FIRST, condition)
    names = await _names_of(ctx, page.rows)
    return page.render(_to_listed(build, names) for build in page.rows)


def _to_condition(query: ListBuilds, hidden: Sequence[int]) -> Document:
    statuses = set(query.statuses or BuildStatus)
    # with equality on `finished`, MongoDB reads builds in the order of an index that begins with `finished`
    finished = [value for value in (False, True) if any((status in FINISHED_STATUSES) is value for status in statuses)]
    condition: Document = {"finished": {"$in": finished}, **without_projects(hidden)}
    if query.projects_id:
        condition["project_id"] = {"$in": sorted({*query.projects_id} - {*hidden})}
    if query.statuses:
        condition["status"] = {"$in": sorted(query.statuses)}
    if query.sources:
        condition["source"] = {"$in": sorted(query.sources)}
    if query.ref:
        condition["ref"] = {"$in": [query.ref, f"refs/heads/{query.ref}", f"refs/tags/{query.ref}"]}
    if query.initiator_id is not None:
        condition["initiator_id"] = query.initiator_id
    if query.deliveries_id:
        # the build of a delivery has the delivery's id as executor_id, which has an index
        condition["executor_id"] = {"$in": sorted({*query.deliveries_id})}
    times = {name: at for name, at in (("$gte", query.since), ("$lt", query.until)) if at}
    return condition | ({"queued_at": times} if times else {})


async def _begin_at(builds: ReadModel[BuildListRow], query: ListBuilds) -> Document:
    """Return the condition that ends the search at the oldest build that can match `since`."""
    older = await builds.find(
        {"finished": {"$in": [False, True]}, "queued_at": {"$lt": query.since}}, NEWEST_FIRST, limit=1
    )
    return {"id": {"$gt": older[0].id - ID_DISORDER}} if older else {}


async def list_recent_builds(ctx: Context, query: ListRecentBuilds) -> RecentBuilds:
    """Return the newest builds of each of the given projects.

    Projects without builds, and projects that the user may not see, are left out.
    """
    hidden = set(await list_hidden_projects(ctx))
    builds = ctx.read_model(BuildRow).select(BuildListRow)
    turns = asyncio.Semaphore(MAX_CONCURRENT_QUERIES)

    async def find(project_id: int) -> list[BuildListRow]:
        async with turns:
            of_project = {"project_id": project_id, "finished": {"$in": [False, True]}}
            return await builds.find(of_project, NEWEST_FIRST, limit=query.limit)

    projects = [project_id for project_id in dict.fromkeys(query.projects_id) if project_id not in hidden]
    found = await asyncio.gather(*map(find, projects))
    names = await _names_of(ctx, [build for rows in found for build in rows])
    return RecentBuilds(
        projects=tuple(
            ProjectBuilds(project_id=project_id, builds=tuple(_to_listed(build, names) for build in rows))
            for project_id, rows in zip(projects, found, strict=True)
            if rows
        )
    )


async def _names_of(ctx: Context, builds: Sequence[BuildListRow]) -> Mapping[int, str]:
    return await ctx.get_usernames({build.initiator_id for build in builds if build.initiator_id})


def _to_listed(build: BuildListRow, names: Mapping[int, str]) -> ListedBuild:
    initiator = UserName(id=build.initiator_id, name=names.get(build.initiator_id, SYSTEM.name))
    title = build.message.partition("\n")[0][:MAX_TITLE_LENGTH]
    return ListedBuild(**build.replace(message=title).model_dump(), initiator=initiator)
