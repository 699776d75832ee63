"""How long builds took, month by month: counted from what ended, so it stays when builds and projects go."""

from typing import Any

from contracts.builds import BuildFinished, ListBuildDurations
from contracts.messages import Page, ReadModelRow
from libs.eventstore.decider import RecordedEvent
from libs.projections.paging import Column, build_conditions, combine_conditions, fetch_slice, parse_number
from libs.service.declaration import Context, Projection
from services.builds.domain.build import duration_ms_of, round_to_seconds

MAX_PAGE_SIZE = 100_000
COLUMNS = {"date": Column("date"), "duration": Column("duration", parse_number)}


class MonthRow(ReadModelRow):
    date: str = ""  # year and month, which has no leading zero
    months: int = 0  # since the year 0, for the order
    duration: int = 0  # seconds
    milliseconds: int = 0


def month_key(recorded: RecordedEvent[Any]) -> str | None:
    return f"{recorded.at.year}-{recorded.at.month}" if isinstance(recorded.event, BuildFinished) else None


def add_duration(row: MonthRow, recorded: RecordedEvent[BuildFinished]) -> MonthRow:
    at, milliseconds = recorded.at, row.milliseconds + duration_ms_of(recorded.event)
    return MonthRow(
        date=f"{at.year}-{at.month}",
        months=at.year * 12 + at.month,
        duration=round_to_seconds(milliseconds),
        milliseconds=milliseconds,
    )


monthly_durations = Projection(
    "durations", "builds", month_key, MonthRow(), add_duration, version=2, indexes=(("months",),)
)


async def page_durations(ctx: Context, query: ListBuildDurations) -> Page:
    """Months in which nothing ended are not there."""
    wanted = combine_conditions(query, build_conditions(query, COLUMNS))
    size = query.per_page or MAX_PAGE_SIZE
    rows, total = await fetch_slice(ctx.read_model("durations"), query.replace(per_page=size), wanted, [("months", 1)])
    return Page(rows=tuple({"date": row.date, "duration": row.duration} for row in rows), total=total)
