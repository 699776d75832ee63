"""Detection of runners that no longer send requests."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from contracts.runners import RunnerRow
from libs.service.declaration import Context
from libs.service.outage_grace import compute_grace_deadline
from services.runners.domain.internal_commands import MarkRunnerOffline
from services.runners.heartbeats import load_last_contacts
from services.runners.projections import LastContact

SCANS_COLLECTION = "presence_looks"


async def detect_offline(ctx: Context) -> None:
    """Set runners offline whose stored last contact is older than `runner_offline_seconds`.

    Not every heartbeat is written (see HeartbeatWriter): the stored contact may be older than the runner's last call,
    by up to a third of that time. After an outage, no runner is set offline until its grace period has passed.
    """
    timeout = timedelta(seconds=ctx.settings.runner_offline_seconds)
    if ctx.clock.database_time() < await compute_grace_deadline(ctx, SCANS_COLLECTION, timeout):
        return
    online = await ctx.read_model(RunnerRow).find({"online": True})
    last_contacts = await load_last_contacts(ctx, [row.uuid for row in online])
    for command in offline_commands(online, last_contacts, ctx.clock.database_time(), timeout):
        await ctx.send(command, step=command.runner_uuid)


def offline_commands(
    online: Sequence[RunnerRow], last_contacts: Mapping[str, LastContact], now: datetime, timeout: timedelta
) -> Sequence[MarkRunnerOffline]:
    """Return a command for each online runner whose last contact is missing or older than the timeout."""
    present = {uuid for uuid, contact in last_contacts.items() if now - contact.seen_at <= timeout}
    return [MarkRunnerOffline(runner_uuid=row.uuid) for row in online if row.uuid not in present]
