"""How long builds took, month by month: counted from what ended, so it stays when builds and projects go."""

from typing import Any

from contracts.builds import BuildFinished, PageDurations
from contracts.messages import Page, Row
from libs.deciding import Recorded
from libs.paging import Column, conditions, number, sliced, together
from libs.service import Context, FollowedView
from services.builds.domain.build import duration_of, rounded_seconds

LARGEST_PAGE = 100_000
COLUMNS = {"date": Column("date"), "duration": Column("duration", number)}


class MonthRow(Row):
    date: str = ""  # year and month, which has no leading zero
    months: int = 0  # since the year 0, for the order
    duration: int = 0  # seconds
    milliseconds: int = 0


def month_of(recorded: Recorded[Any]) -> str | None:
    return f"{recorded.at.year}-{recorded.at.month}" if isinstance(recorded.event, BuildFinished) else None


def add_duration(row: MonthRow, recorded: Recorded[BuildFinished]) -> MonthRow:
    at, milliseconds = recorded.at, row.milliseconds + duration_of(recorded.event)
    return MonthRow(
        date=f"{at.year}-{at.month}",
        months=at.year * 12 + at.month,
        duration=rounded_seconds(milliseconds),
        milliseconds=milliseconds,
    )


durations = FollowedView("durations", "builds", month_of, MonthRow(), add_duration, version=2, indexes=(("months",),))


async def page_durations(ctx: Context, query: PageDurations) -> Page:
    """Months in which nothing ended are not there."""
    wanted = together(query, conditions(query, COLUMNS))
    size = query.per_page or LARGEST_PAGE
    rows, total = await sliced(ctx.rows("durations"), query.but(per_page=size), wanted, [("months", 1)])
    return Page(rows=tuple({"date": row.date, "duration": row.duration} for row in rows), total=total)
