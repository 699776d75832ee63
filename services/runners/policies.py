"""What the runners' silence leads to."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from contracts.runners import MarkRunnerOffline, RunnerRow
from services.runners.views import Sighting


def on_silence(
    online: Sequence[RunnerRow], seen: Mapping[str, Sighting], now: datetime, patience: timedelta
) -> Sequence[MarkRunnerOffline]:
    """Who counts as online and was not seen for longer than the patience is offline."""
    present = {uuid for uuid, sighting in seen.items() if now - sighting.seen_at <= patience}
    return [MarkRunnerOffline(runner_uuid=row.uuid) for row in online if row.uuid not in present]
