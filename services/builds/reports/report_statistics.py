"""Statistics of tests: the flaky tests and the slowest tests of a project's latest builds."""

from collections import defaultdict
from collections.abc import Sequence

from contracts.builds import (
    MAX_LISTED_CASES,
    CaseStatistics,
    FlakyCase,
    GetTestStatistics,
    ReportedCase,
    SlowCase,
)
from libs.documents import Document
from libs.service.declaration import Context
from services.builds.reports.flaky_cases import CaseHistory, CaseId, ReportRun, find_flaky, find_suspects
from services.builds.reports.report_store import REPORTS, case_key, load_cases, unpack_keys

MAX_REPORTS = 500
MAX_SUSPECTS = 5000  # tests that failed and are compared with other builds
RUN_FIELDS = ("build_id", "job_id", "attempt", "job_name", "ref", "sha")


async def get_test_statistics(ctx: Context, query: GetTestStatistics) -> CaseStatistics:
    """Return the statistics of the latest builds that have reports. At most MAX_REPORTS reports are read."""
    newest = await _load_newest(ctx, query)
    runs = [_to_run(document) for document in newest]
    suspects = find_suspects(runs, MAX_SUSPECTS)
    with_passed = [
        _to_run(document, unpack_keys(document["passed_keys"]) & suspects[document["job_name"]])
        async for document in ctx.collection(REPORTS).find(
            {"_id": {"$in": [document["_id"] for document in newest if suspects.get(document["job_name"])]}},
            dict.fromkeys((*RUN_FIELDS, "failed_keys", "passed_keys"), 1),
        )
    ]
    flaky = find_flaky(with_passed, suspects)[:MAX_LISTED_CASES]
    return CaseStatistics(
        builds=len({run.build_id for run in runs}),
        flaky=tuple(await _name_cases(ctx, flaky)),
        slowest=tuple(_find_slowest(newest)),
    )


async def _load_newest(ctx: Context, query: GetTestStatistics) -> list[Document]:
    """Return the reports of the latest builds, newest first, without the tests that passed."""
    fields = dict.fromkeys((*RUN_FIELDS, "failed_keys", "slowest"), 1)
    cursor = ctx.collection(REPORTS).find({"project_id": query.project_id}, fields, limit=MAX_REPORTS)
    newest: list[Document] = []
    builds: set[int] = set()
    async for document in cursor.sort([("build_id", -1)]):
        builds.add(document["build_id"])
        if len(builds) > query.builds:
            break
        newest.append(document)
    return newest


def _to_run(document: Document, passed: frozenset[int] = frozenset()) -> ReportRun:
    fields = {name: document[name] for name in RUN_FIELDS}
    return ReportRun(**fields, failed=unpack_keys(document["failed_keys"]), passed=passed)


async def _name_cases(ctx: Context, flaky: Sequence[tuple[CaseId, CaseHistory]]) -> list[FlakyCase]:
    """Return the flaky tests with their names, from the report of the latest failure.

    Tests are left out if that report is deleted or does not list them.
    """
    by_run: dict[tuple[int, int], dict[int, ReportedCase]] = {}
    named = []
    for (job_name, key), history in flaky:
        run = history.failed_run
        place = run.job_id, run.attempt
        if place not in by_run:
            rows = await load_cases(ctx, *place, "failed")
            by_run[place] = {case_key(case): case for case in map(ReportedCase.model_validate, rows)}
        if case := by_run[place].get(key):
            named.append(
                FlakyCase(
                    job_name=job_name,
                    class_name=case.class_name,
                    name=case.name,
                    file=case.file,
                    runs=len(history.results),
                    failed=history.results.count(False),
                    same_commit=history.same_commit,
                    changes=history.changes,
                    last_failed_build_id=run.build_id,
                )
            )
    return named


def _find_slowest(newest: Sequence[Document]) -> list[SlowCase]:
    """Return the tests with the longest mean duration, among the slowest tests of each report."""
    found: dict[tuple[str, str], list[tuple[int, Document]]] = defaultdict(list)
    for document in newest:
        for case in document["slowest"]:
            found[document["job_name"], case["key"]].append((document["build_id"], case))
    cases = [_to_slow_case(job_name, runs) for (job_name, _), runs in found.items()]
    return sorted(cases, key=lambda case: (-case.mean_ms, case.job_name, case.class_name, case.name))[:MAX_LISTED_CASES]


def _to_slow_case(job_name: str, runs: Sequence[tuple[int, Document]]) -> SlowCase:
    durations = [case["duration_ms"] for _, case in runs]
    build_id, latest = runs[0]
    return SlowCase(
        job_name=job_name,
        class_name=latest["class_name"],
        name=latest["name"],
        file=latest["file"],
        runs=len(runs),
        mean_ms=round(sum(durations) / len(durations)),
        max_ms=max(durations),
        last_build_id=build_id,
    )
