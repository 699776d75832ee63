"""Which tests are flaky: pure functions over the results of tests in several builds."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

MIN_CHANGES = 3  # changes of the result; a test that broke and was repaired has two

CaseId = tuple[str, int]  # name of the job, and key of the test


@dataclass(frozen=True, slots=True)
class ReportRun:
    """One report: which tests passed and failed. Reports are compared in the order of their builds and attempts."""

    build_id: int
    job_id: int
    attempt: int
    job_name: str
    ref: str
    sha: str
    failed: frozenset[int]
    passed: frozenset[int] = frozenset()


@dataclass(slots=True)
class CaseHistory:
    """Results of one test, oldest first."""

    failed_run: ReportRun  # the latest report in which the test failed
    results: list[bool] = field(default_factory=list)  # True: passed
    passed_shas: set[str] = field(default_factory=set)
    failed_shas: set[str] = field(default_factory=set)
    by_ref: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))

    @property
    def same_commit(self) -> bool:
        return not self.passed_shas.isdisjoint(self.failed_shas)

    @property
    def changes(self) -> int:
        return max(sum(before != after for before, after in pairwise(results)) for results in self.by_ref.values())

    @property
    def is_flaky(self) -> bool:
        return self.same_commit or self.changes >= MIN_CHANGES


def find_suspects(runs: Iterable[ReportRun], limit: int) -> dict[str, set[int]]:
    """Return the keys of tests that failed, by name of the job: at most `limit` keys, of the first runs."""
    suspects: dict[str, set[int]] = defaultdict(set)
    number = 0
    for run in runs:
        for key in run.failed - suspects[run.job_name]:
            if number == limit:
                return suspects
            suspects[run.job_name].add(key)
            number += 1
    return suspects


def find_flaky(runs: Sequence[ReportRun], suspects: Mapping[str, set[int]]) -> list[tuple[CaseId, CaseHistory]]:
    """Return the flaky tests among the suspects. Tests with different results for one commit come first."""
    histories: dict[CaseId, CaseHistory] = {}
    for run in sorted(runs, key=lambda run: (run.build_id, run.job_id, run.attempt)):
        for key, has_passed in _iterate_results(run, suspects.get(run.job_name, set())):
            history = histories.setdefault((run.job_name, key), CaseHistory(run))
            history.results.append(has_passed)
            history.by_ref[run.ref].append(has_passed)
            (history.passed_shas if has_passed else history.failed_shas).add(run.sha)
            if not has_passed:
                history.failed_run = run
    flaky = [(case, history) for case, history in histories.items() if history.is_flaky]
    return sorted(
        flaky, key=lambda item: (not item[1].same_commit, -item[1].changes, -item[1].failed_run.build_id, item[0])
    )


def _iterate_results(run: ReportRun, suspects: set[int]) -> Iterator[tuple[int, bool]]:
    for key in run.failed & suspects:
        yield key, False
    for key in run.passed & suspects:
        yield key, True
