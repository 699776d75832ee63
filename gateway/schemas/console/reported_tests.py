"""Responses with results of tests."""

from pydantic import Field

from contracts.builds import CaseStatus
from gateway.forwarding.serializers import ResponseModel, serialize

TRUNCATED = "truncated, with secrets masked"


class CaseCounts(ResponseModel):
    total: int = Field(description="number of tests", examples=[120])
    passed: int = Field(description="tests that passed", examples=[116])
    failed: int = Field(description="tests with a failure", examples=[2])
    errors: int = Field(description="tests with an error", examples=[1])
    skipped: int = Field(description="tests that were skipped", examples=[1])
    duration_ms: int = Field(description="sum of their durations in milliseconds", examples=[8200])


class SuiteResult(CaseCounts):
    name: str = Field(description="name of the test suite", examples=["unit"])


class JobTestCounts(CaseCounts):
    job_id: int = Field(description="number of the job", examples=[17])
    job_name: str = Field(description="name of the job", examples=["test"])
    warnings: tuple[str, ...] = Field(description="what could not be read, or is not listed")


class JobTests(JobTestCounts):
    suites: tuple[SuiteResult, ...] = Field(description="at most 50 test suites, in the order of the report")


class BuildTestCounts(CaseCounts):
    jobs: tuple[JobTestCounts, ...] = Field(description="jobs that have uploaded a report")


class BuildTests(CaseCounts):
    jobs: tuple[JobTests, ...] = Field(description="jobs that have uploaded a report")


class ReportedCase(ResponseModel):
    job_id: int = Field(description="number of the job", examples=[17])
    job_name: str = Field(description="name of the job", examples=["test"])
    status: CaseStatus = Field(description="result of the test")
    suite: str = Field(description="name of its test suite", examples=["unit"])
    class_name: str = Field(description="class or module of the test", examples=["tests.test_cart"])
    name: str = Field(description="name of the test", examples=["test_total"])
    file: str = Field(description="path of its file; empty if the report has none", examples=["tests/test_cart.py"])
    line: int | None = Field(description="its line; null if the report has none", examples=[42])
    duration_ms: int = Field(description="its duration in milliseconds", examples=[15])
    message: str = Field(description=f"message of the failure, or reason for skipping; {TRUNCATED}")
    details: str = Field(description=f"usually a stack trace; {TRUNCATED}")


class CasePage(ResponseModel):
    summary: BuildTests = Field(description="numbers of all tests of the build, whatever their status")
    tests: tuple[ReportedCase, ...] = Field(
        validation_alias="cases", description="failed tests, then skipped ones, then those that passed"
    )
    next: str | None = Field(description="`after` of the next page; null at the end")


class FlakyCase(ResponseModel):
    job_name: str = Field(description="name of the job", examples=["test"])
    class_name: str = Field(description="class or module of the test", examples=["tests.test_cart"])
    name: str = Field(description="name of the test", examples=["test_total"])
    file: str = Field(description="path of its file; empty if the report has none", examples=["tests/test_cart.py"])
    runs: int = Field(description="reports in which the test passed or failed", examples=[40])
    failed: int = Field(description="reports in which it failed", examples=[3])
    same_commit: bool = Field(description="whether it passed and failed with the same commit")
    changes: int = Field(description="changes between passed and failed in the order of the builds of one branch")
    last_failed_build_id: int = Field(description="number of the latest build in which it failed", examples=[17])


class SlowCase(ResponseModel):
    job_name: str = Field(description="name of the job", examples=["test"])
    class_name: str = Field(description="class or module of the test", examples=["tests.test_cart"])
    name: str = Field(description="name of the test", examples=["test_total"])
    file: str = Field(description="path of its file; empty if the report has none", examples=["tests/test_cart.py"])
    runs: int = Field(description="reports in which it is among the 20 slowest tests of the job", examples=[40])
    mean_ms: int = Field(description="its mean duration in these reports in milliseconds", examples=[900])
    max_ms: int = Field(description="its longest duration in these reports", examples=[1400])
    last_build_id: int = Field(description="number of the latest build with such a report", examples=[17])


class CaseStatistics(ResponseModel):
    builds: int = Field(description="builds with reports that were examined", examples=[50])
    flaky: tuple[FlakyCase, ...] = Field(
        description="at most 50 tests: those that passed and failed with one commit, then those that changed most often"
    )
    slowest: tuple[SlowCase, ...] = Field(description="at most 50 tests, by mean duration")


BUILD_TESTS = serialize(CasePage)
CASE_STATISTICS = serialize(CaseStatistics)
