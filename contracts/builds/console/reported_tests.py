"""Queries for the results of tests, from the JUnit reports that jobs upload."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from contracts.messages import Message, Query

MAX_CASES_PER_PAGE = 500
MAX_EXAMINED_BUILDS = 200  # number of latest builds in the statistics of a project's tests
MAX_LISTED_CASES = 50  # maximum number of flaky tests, and of slow ones, in statistics


class CaseStatus(StrEnum):
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"
    PASSED = "passed"


class CaseCounts(Message):
    """Numbers of tests. A test that is reported twice counts twice."""

    total: int = 0
    passed: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0
    duration_ms: int = 0  # sum of the durations of the tests

    def plus(self, other: "CaseCounts") -> "CaseCounts":
        return CaseCounts(**{name: getattr(self, name) + getattr(other, name) for name in CaseCounts.model_fields})


class SuiteResult(CaseCounts):
    name: str


class JobTests(CaseCounts):
    """Numbers of the tests that the latest attempt of a job reported."""

    job_id: int
    job_name: str
    suites: tuple[SuiteResult, ...] = ()  # the first suites in the order of the report
    warnings: tuple[str, ...] = ()  # parts of the report that could not be read, or are not listed


class BuildTests(CaseCounts):
    """Numbers of the tests of a build: the sums over its jobs."""

    jobs: tuple[JobTests, ...] = ()  # only jobs with reports


class ReportedCase(Message):
    """A test of a report. Texts are truncated, and the secrets of the build are masked in them."""

    job_id: int = 0
    job_name: str = ""
    status: CaseStatus
    suite: str = ""
    class_name: str = ""
    name: str = ""
    file: str = ""
    line: int | None = None
    duration_ms: int = 0
    message: str = ""
    details: str = ""  # usually a stack trace

    @property
    def has_failed(self) -> bool:
        return self.status in (CaseStatus.FAILED, CaseStatus.ERROR)


class ListBuildTests(Query):
    """List the tests of a build: failed ones, then skipped ones, then those that passed. Answer: CasePage.

    Errors: BUILD_NOT_FOUND, PAGINATION_CURSOR_INVALID.
    """

    build_id: int
    statuses: Annotated[tuple[CaseStatus, ...], Field(max_length=len(CaseStatus))] = ()  # empty: all
    after: str = Field(default="", max_length=1024)  # `next` of the previous page
    limit: int = Field(default=100, ge=1, le=MAX_CASES_PER_PAGE)


class CasePage(Message):
    cases: tuple[ReportedCase, ...]
    next: str | None = None  # None: the list ends here
    summary: BuildTests


class GetTestStatistics(Query):
    """Find the flaky and the slowest tests of a project's latest builds. Answer: CaseStatistics.

    Errors: PROJECT_NOT_FOUND.
    """

    project_id: int
    builds: int = Field(default=50, ge=1, le=MAX_EXAMINED_BUILDS)  # number of latest builds with reports


class FlakyCase(Message):
    job_name: str
    class_name: str
    name: str
    file: str
    runs: int  # number of reports in which the test passed or failed
    failed: int
    same_commit: bool  # whether the test passed and failed with one commit
    changes: int  # number of changes between passed and failed from build to build, on the ref with most changes
    last_failed_build_id: int


class SlowCase(Message):
    job_name: str
    class_name: str
    name: str
    file: str
    runs: int  # number of reports in which the test was among the slowest
    mean_ms: int
    max_ms: int
    last_build_id: int


class CaseStatistics(Message):
    builds: int  # number of builds that were examined
    flaky: tuple[FlakyCase, ...]
    slowest: tuple[SlowCase, ...]
