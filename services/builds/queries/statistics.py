"""Total build duration by month. Deleting builds or projects does not change the stored totals."""

from collections import Counter
from collections.abc import Sequence

from contracts.builds import BuildFinished, ListBuildDurations
from contracts.messages import Event, Page, Payload, ReadModelRow
from libs.eventstore.decider import RecordedEvent
from libs.permissions.projections import project_access_projection
from libs.permissions.rule import is_unrestricted
from libs.projections.filters import Column, build_conditions, combine_conditions, parse_number
from libs.projections.paging import fetch_page, select_rows
from libs.projections.projector import projection_collection
from libs.service.declaration import BATCH_SECONDS, Context, Projection
from services.builds.domain.build_state import duration_ms_of, round_to_seconds
from services.builds.queries.project_access import list_hidden_projects

COLUMNS = {"date": Column("date"), "duration": Column("duration", parse_number)}


class MonthRow(ReadModelRow):
    """Total duration of the builds that finished in one month."""

    date: str = ""  # year and month without a leading zero, for example 2024-3
    months: int = 0  # number of months since year 0; the sort key
    duration: int = 0  # seconds
    milliseconds: int = 0


def month_key(recorded: RecordedEvent[Event]) -> str | None:
    """Return the key of the row that an event changes: its year and month. None for other events than BuildFinished."""
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
    "durations",
    "builds",
    month_key,
    MonthRow(),
    add_duration,
    version=2,
    previous_version=1,
    indexes=(("months",),),
    is_cumulative=True,
    batch_seconds=BATCH_SECONDS,
)


class ProjectMonthRow(MonthRow):
    """Total duration of the builds of one project that finished in one month."""

    project_id: int = 0


def project_month_key(recorded: RecordedEvent[Event]) -> str | None:
    month = month_key(recorded)
    return month and f"{recorded.event.project_id}/{month}"  # type: ignore[attr-defined]


def add_project_duration(row: ProjectMonthRow, recorded: RecordedEvent[BuildFinished]) -> ProjectMonthRow:
    total = add_duration(row, recorded)
    return ProjectMonthRow(**total.model_dump(), project_id=recorded.event.project_id)


project_durations = Projection(
    "project_durations",
    "builds",
    project_month_key,
    ProjectMonthRow(),
    add_project_duration,
    indexes=(("project_id",),),
    is_cumulative=True,
    batch_seconds=BATCH_SECONDS,
)


async def list_build_durations(ctx: Context, query: ListBuildDurations) -> Page:
    """Return the durations by month, without the projects that the actor may not see.

    Months without finished builds are left out. If no project is hidden, the stored sums of the months are returned.
    """
    hidden = await _list_excluded_projects(ctx)
    if not hidden:
        condition = combine_conditions(query, build_conditions(query, COLUMNS))
        return await fetch_page(ctx.read_model(MonthRow), query, to_summary, order=[("months", 1)], condition=condition)
    excluded = Counter[int]()
    for row in await ctx.read_model(ProjectMonthRow).find({"project_id": {"$in": hidden}}):
        excluded[row.months] += row.milliseconds
    # filters by duration are ignored, because the sums without the hidden projects are not stored
    by_date = build_conditions(query, {"date": COLUMNS["date"]})
    rows = await ctx.read_model(MonthRow).find(combine_conditions(query, by_date))
    months = [row if row.months not in excluded else _exclude(row, excluded[row.months]) for row in rows]
    visible = (month for month in months if month.milliseconds or month.months not in excluded)
    page = select_rows(visible, query, lambda row: (row.months,))
    return page.render(map(to_summary, page.rows))


async def _list_excluded_projects(ctx: Context) -> Sequence[int]:
    """Return the projects that the actor may not see, and projects removed from the log: they may have been private."""
    if is_unrestricted(ctx.metadata.actor):
        return ()
    counted = await ctx.collection(projection_collection(project_durations)).distinct("row.project_id")
    known = await ctx.collection(projection_collection(project_access_projection)).distinct("row.id")
    return [*await list_hidden_projects(ctx), *(set(counted) - set(known))]


def _exclude(row: MonthRow, milliseconds: int) -> MonthRow:
    remaining = max(row.milliseconds - milliseconds, 0)
    return row.replace(milliseconds=remaining, duration=round_to_seconds(remaining))


def to_summary(row: MonthRow) -> Payload:
    return {"date": row.date, "duration": row.duration}
