"""Pages of the tests of a build, read from the reports of its jobs."""

from collections.abc import AsyncIterator, Mapping

from contracts.builds import CasePage, CaseStatus, GetBuild, JobRow, JobTests, ListBuildTests, ReportedCase
from contracts.errors import RequestRejected
from libs.projections.paging import decode_cursor, encode_cursor
from libs.service.declaration import Context
from services.builds.queries.build_queries import get_build
from services.builds.reports.report_store import GROUPS, load_cases, load_summaries, summarize

MAX_PAGE_BYTES = 2 * 1024 * 1024  # JSON of the tests; a message has at most 8 MiB
Position = tuple[int, int, int]  # group, job id, and place in the list of this group


async def list_build_tests(ctx: Context, query: ListBuildTests) -> CasePage:
    """Return a page of the tests of a build. Raises BUILD_NOT_FOUND and PAGINATION_CURSOR_INVALID."""
    build = await get_build(ctx, GetBuild(build_id=query.build_id))
    attempts = await find_attempts(ctx, build.id)
    summaries = await load_summaries(ctx, attempts)
    after = _parse_position(query.after)
    cases: list[ReportedCase] = []
    position, size = after, 0
    following = None
    async for place, case in _iterate_cases(ctx, query, attempts, summaries, after):
        size += len(case.model_dump_json().encode())
        if cases and (len(cases) == query.limit or size > MAX_PAGE_BYTES):
            following = encode_cursor(position)
            break
        cases.append(case)
        position = place
    return CasePage(cases=tuple(cases), next=following, summary=summarize(summaries.values()))


async def find_attempts(ctx: Context, build_id: int) -> dict[int, int]:
    """Return the number of the current attempt of each job of a build that has been queued, by job id."""
    values = await ctx.read_model(JobRow).find_values({"build_id": build_id}, "id", "attempt", order=[("id", 1)])
    return dict(values)


def _parse_position(cursor: str) -> Position:
    """Return the position of the last test of the previous page. Raises PAGINATION_CURSOR_INVALID."""
    if not cursor:
        return (0, 0, -1)
    match decode_cursor(cursor, 3):
        case (int(group), int(job_id), int(place)):
            return (group, job_id, place)
        case _:
            raise RequestRejected("PAGINATION_CURSOR_INVALID")


async def _iterate_cases(
    ctx: Context,
    query: ListBuildTests,
    attempts: Mapping[int, int],
    summaries: Mapping[int, JobTests],
    after: Position,
) -> AsyncIterator[tuple[Position, ReportedCase]]:
    """Yield the tests after a position, with their positions. A report is loaded when its first test is needed."""
    for group_number, (group, statuses) in enumerate(GROUPS.items()):
        wanted = set(statuses) & set(query.statuses or CaseStatus)
        for job_id, summary in summaries.items():
            if not wanted or (group_number, job_id) < after[:2] or not _has_cases(summary, wanted):
                continue
            for place, fields in enumerate(await load_cases(ctx, job_id, attempts[job_id], group)):
                if (group_number, job_id, place) > after and fields["status"] in wanted:
                    case = ReportedCase.model_validate({**fields, "job_id": job_id, "job_name": summary.job_name})
                    yield (group_number, job_id, place), case


def _has_cases(summary: JobTests, statuses: set[CaseStatus]) -> bool:
    numbers = {
        CaseStatus.FAILED: summary.failed,
        CaseStatus.ERROR: summary.errors,
        CaseStatus.SKIPPED: summary.skipped,
        CaseStatus.PASSED: summary.passed,
    }
    return any(numbers[status] for status in statuses)
