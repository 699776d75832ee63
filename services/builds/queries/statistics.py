"""Total build duration by month. Deleting builds or projects does not change it."""

from contracts.builds import BuildFinished, ListBuildDurations
from contracts.messages import Event, Page, Payload, ReadModelRow
from libs.eventstore.decider import RecordedEvent
from libs.projections.filters import Column, build_conditions, combine_conditions, parse_number
from libs.projections.paging import fetch_page
from libs.service.declaration import Context, Projection
from services.builds.domain.build_state import duration_ms_of, round_to_seconds

COLUMNS = {"date": Column("date"), "duration": Column("duration", parse_number)}


class MonthRow(ReadModelRow):
    """Total duration of the builds that finished in one month."""

    date: str = ""  # year and month without a leading zero, for example 2024-3
    months: int = 0  # since year 0, as the sort key
    duration: int = 0  # seconds
    milliseconds: int = 0


def month_key(recorded: RecordedEvent[Event]) -> str | None:
    """Return the key of the row that an event changes: its year and month."""
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


async def list_build_durations(ctx: Context, query: ListBuildDurations) -> Page:
    """Return the durations by month. Months without finished builds are missing."""
    condition = combine_conditions(query, build_conditions(query, COLUMNS))
    return await fetch_page(ctx.read_model(MonthRow), query, to_summary, order=[("months", 1)], condition=condition)


def to_summary(row: MonthRow) -> Payload:
    return {"date": row.date, "duration": row.duration}
