"""The document of a report contains what lists and statistics need."""

from contracts.builds import CaseStatus, JobTests, ReportedCase
from services.builds.reports.report_store import (
    SLOWEST_CASES,
    case_key,
    summarize,
    to_document,
    to_summary,
    unpack_cases,
    unpack_keys,
)

FAILED = ReportedCase(status=CaseStatus.FAILED, name="f", message="no", details="é\n", line=3, duration_ms=5)
ERROR = ReportedCase(status=CaseStatus.ERROR, name="e")
SKIPPED = ReportedCase(status=CaseStatus.SKIPPED, name="s")
PASSED = ReportedCase(status=CaseStatus.PASSED, name="p", class_name="c", duration_ms=7)
SUMMARY = JobTests(job_id=1, job_name="test", total=4, passed=1, failed=1, errors=1, skipped=1, duration_ms=12)


def test_tests_are_stored_by_result() -> None:
    document = to_document(SUMMARY, [PASSED, FAILED, SKIPPED, ERROR])
    stored = {
        group: [ReportedCase.model_validate(fields) for fields in unpack_cases(document, group)]
        for group in ("failed", "skipped", "passed")
    }
    assert stored == {"failed": [FAILED, ERROR], "skipped": [SKIPPED], "passed": [PASSED]}
    assert unpack_keys(document["failed_keys"]) == {case_key(FAILED), case_key(ERROR)}
    assert unpack_keys(document["passed_keys"]) == {case_key(PASSED)}
    assert [case["name"] for case in document["slowest"]] == ["p", "f"]
    assert to_summary(document) == SUMMARY


def test_a_test_that_is_reported_twice_failed_if_one_failed() -> None:
    document = to_document(SUMMARY, [PASSED, PASSED.replace(status=CaseStatus.FAILED)])
    assert unpack_keys(document["passed_keys"]) == frozenset()


def test_only_the_slowest_tests_are_kept_for_statistics() -> None:
    document = to_document(SUMMARY, [PASSED.replace(name=str(ms), duration_ms=ms) for ms in range(100)])
    assert [case["duration_ms"] for case in document["slowest"]] == list(range(99, 99 - SLOWEST_CASES, -1))


def test_the_numbers_of_all_jobs_are_added() -> None:
    assert summarize([SUMMARY, SUMMARY]).total == 8
    assert summarize([]).jobs == ()
