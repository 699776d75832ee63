"""Lists of jobs, page by page, straight from the indexes however many there are."""

from typing import Any

from contracts.builds import ListJobs
from contracts.messages import Page
from libs.paging import sliced
from libs.rows import DATED
from libs.service import Context

LATEST_FIRST = (("listed_at", -1), ("id", -1))
INTERNAL = {"token_hash", "steps", "project", "listed_at", "fetches", "collects", "planned"}


async def list_jobs(ctx: Context, query: ListJobs) -> Page:
    if query.statuses == ():
        return Page(rows=(), total=0)
    wanted: dict[str, Any] = {"listed_at": DATED}
    if query.runner_uuid is not None:
        wanted["runner_uuid"] = query.runner_uuid
    if query.statuses is not None:
        wanted["status"] = {"$in": list(query.statuses)}
    rows, total = await sliced(ctx.rows("job"), query, wanted, LATEST_FIRST)
    return Page(rows=tuple(row.model_dump(mode="json", exclude=INTERNAL) for row in rows), total=total)
