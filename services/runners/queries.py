"""Queries for runners."""

from contracts.errors import RequestRejected
from contracts.messages import Page
from contracts.runners import GetRunner, ListRunners, RunnerRow, RunnerView
from libs.projections.paging import select_rows
from libs.service.declaration import Context
from services.runners.domain.runner import runner_stream
from services.runners.heartbeats import load_last_contacts, load_last_seen_times
from services.runners.views import to_view


async def require_runner(ctx: Context, *, runner_uuid: str = "", runner_id: int = 0) -> RunnerRow:
    """Return the runner with the UUID or the id. Raises RequestRejected with RUNNER_NOT_FOUND."""
    rows = ctx.read_model(RunnerRow)
    find = rows.get(runner_stream(runner_uuid)) if runner_uuid else rows.find_one({"id": runner_id})
    row: RunnerRow | None = await find
    if row is None:
        raise RequestRejected("RUNNER_NOT_FOUND")
    return row


async def get_runner(ctx: Context, query: GetRunner) -> RunnerView:
    row = await require_runner(ctx, runner_uuid=query.runner_uuid, runner_id=query.runner_id)
    last_contacts = await load_last_contacts(ctx, [row.uuid])
    return to_view(row, last_contacts.get(row.uuid))


async def list_runners(ctx: Context, query: ListRunners) -> Page:
    """Return a page of runners, latest contact first.

    The last contact is not part of the row. The order is computed from the times of all runners; only the rows of the
    page are loaded.
    """
    owned = {} if query.owner_type is None else {"owner_type": query.owner_type, "owner_id": query.owner_id}
    keys = await ctx.read_model(RunnerRow).find_values(owned, "registered_at", "id", "uuid")
    last_seen = await load_last_seen_times(ctx)
    contacts = [(last_seen.get(uuid) or at, id_, uuid) for at, id_, uuid in keys]
    page = select_rows(contacts, query, lambda contact: contact, descending=True)
    uuids = [uuid for _, _, uuid in page.rows]
    found = await ctx.read_model(RunnerRow).find({"_id": {"$in": [runner_stream(uuid) for uuid in uuids]}})
    rows = {row.uuid: row for row in found}
    last_contacts = await load_last_contacts(ctx, uuids)
    return page.render(to_view(rows[uuid], last_contacts.get(uuid)) for uuid in uuids if uuid in rows)
