"""Stored reports: one document for each attempt of a job that uploaded a report, with counts and a list of its tests.

Tests are stored as compressed JSON by result, so that the failed tests of a build are read without the others. A report
is deleted with its job.
"""

import json
import zlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from heapq import nlargest

from bson import Binary
from pymongo.errors import DuplicateKeyError

from contracts.builds import BuildTests, CaseCounts, CaseStatus, JobTests, ReportedCase, SuiteResult
from libs.documents import Document
from libs.service.declaration import Context

REPORTS = "test_reports"
SLOWEST_CASES = 20  # tests of a report that are stored with names and durations for statistics
GROUPS: Mapping[str, tuple[CaseStatus, ...]] = {
    "failed": (CaseStatus.FAILED, CaseStatus.ERROR),
    "skipped": (CaseStatus.SKIPPED,),
    "passed": (CaseStatus.PASSED,),
}
"""Groups of tests in the order of lists, by the field that contains them."""
SUMMARY_FIELDS = dict.fromkeys(("job_id", "job_name", "attempt", "counts", "suites", "warnings"), 1)


def case_key(case: ReportedCase) -> int:
    """Return the identity of a test among the reports of jobs with one name."""
    text = "\0".join((case.class_name, case.name, case.file))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def to_document(summary: JobTests, cases: Sequence[ReportedCase]) -> Document:
    """Return the fields of a report's document: its summary, its tests by result, and the slowest ones."""
    failed = {case_key(case) for case in cases if case.has_failed}
    passed = {case_key(case) for case in cases if case.status is CaseStatus.PASSED}
    slowest = nlargest(SLOWEST_CASES, cases, key=lambda case: case.duration_ms)
    return {
        "job_id": summary.job_id,
        "job_name": summary.job_name,
        "counts": summary.model_dump(include=set(CaseCounts.model_fields)),
        "suites": [suite.model_dump() for suite in summary.suites],
        "warnings": list(summary.warnings),
        "cases": {
            group: _compress([case for case in cases if case.status in statuses]) for group, statuses in GROUPS.items()
        },
        "failed_keys": _pack_keys(failed),
        "passed_keys": _pack_keys(passed - failed),  # a test that is reported twice counts as failed if one failed
        "slowest": [
            {**case.model_dump(include={"class_name", "name", "file", "duration_ms"}), "key": str(case_key(case))}
            for case in slowest
            if case.duration_ms
        ],
    }


def _compress(cases: Sequence[ReportedCase]) -> Binary:
    rows = [case.model_dump(mode="json", exclude_defaults=True) for case in cases]
    return Binary(zlib.compress(json.dumps(rows, ensure_ascii=False).encode()))


def _pack_keys(keys: Iterable[int]) -> Binary:
    return Binary(array("Q", sorted(keys)).tobytes())


def unpack_keys(packed: bytes) -> frozenset[int]:
    return frozenset(array("Q", packed))


def unpack_cases(document: Document, group: str) -> list[Document]:
    """Return the tests of a group as fields of ReportedCase."""
    rows: list[Document] = json.loads(zlib.decompress(document["cases"][group]))
    return rows


def to_summary(document: Document) -> JobTests:
    return JobTests(
        job_id=document["job_id"],
        job_name=document["job_name"],
        suites=tuple(map(SuiteResult.model_validate, document["suites"])),
        warnings=tuple(document["warnings"]),
        **document["counts"],
    )


async def store_report(ctx: Context, attempt_id: str, uploaded_at: datetime, document: Document) -> None:
    """Store the report of an attempt, unless a later one of the same attempt is stored. Idempotent."""
    earlier = {"_id": attempt_id, "uploaded_at": {"$lte": uploaded_at}}
    try:
        await ctx.collection(REPORTS).replace_one(earlier, {**document, "uploaded_at": uploaded_at}, upsert=True)
    except DuplicateKeyError:
        return


async def delete_reports_of_job(ctx: Context, job_id: int) -> None:
    await ctx.collection(REPORTS).delete_many({"job_id": job_id})


async def load_summaries(ctx: Context, attempts: Mapping[int, int]) -> dict[int, JobTests]:
    """Return the reports of the given attempts, by job id, in the order of the jobs."""
    found = ctx.collection(REPORTS).find({"_id": {"$in": [*_attempt_ids(attempts)]}}, SUMMARY_FIELDS)
    summaries = [to_summary(document) async for document in found]
    return {summary.job_id: summary for summary in sorted(summaries, key=lambda summary: summary.job_id)}


def attempt_id(job_id: int, attempt: int) -> str:
    return f"{job_id}/{attempt}"


def _attempt_ids(attempts: Mapping[int, int]) -> Iterable[str]:
    return (attempt_id(job_id, attempt) for job_id, attempt in attempts.items())


async def load_cases(ctx: Context, job_id: int, attempt: int, group: str) -> list[Document]:
    """Return the tests of a group in the report of an attempt, as fields of ReportedCase; none without a report."""
    document = await ctx.collection(REPORTS).find_one({"_id": attempt_id(job_id, attempt)}, {f"cases.{group}": 1})
    return unpack_cases(document, group) if document else []


def summarize(reports: Iterable[JobTests]) -> BuildTests:
    jobs, total = tuple(reports), CaseCounts()
    for tests in jobs:
        total = total.plus(tests)
    return BuildTests(jobs=jobs, **total.model_dump())
