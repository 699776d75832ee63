"""The rules by which tests count as flaky."""

from collections.abc import Sequence

import pytest

from services.builds.reports.flaky_cases import ReportRun, find_flaky, find_suspects

A, B = 1, 2


def run(
    build_id: int, results: str, sha: str = "", ref: str = "main", attempt: int = 1, job: str = "test"
) -> ReportRun:
    """Return a report. `results`: a letter per test, in upper case if it passed."""
    keys = {"a": A, "b": B}
    return ReportRun(
        build_id=build_id,
        job_id=build_id,
        attempt=attempt,
        job_name=job,
        ref=ref,
        sha=sha or f"sha-{build_id}",
        failed=frozenset(keys[letter] for letter in results if letter.islower()),
        passed=frozenset(keys[letter.lower()] for letter in results if letter.isupper()),
    )


def flaky(runs: Sequence[ReportRun]) -> list[tuple[str, int]]:
    return [case for case, _ in find_flaky(runs, find_suspects(runs, 100))]


@pytest.mark.parametrize("order", [1, -1])
def test_a_test_that_passes_and_fails_with_one_commit_is_flaky(order: int) -> None:
    runs = [run(1, "aB", "x"), run(2, "AB", "x")]
    ((case, history),) = find_flaky(runs[::order], find_suspects(runs, 100))
    assert case == ("test", A)
    assert (history.same_commit, history.changes, history.results) == (True, 1, [False, True])


def test_a_retry_of_a_job_shows_a_flaky_test() -> None:
    assert flaky([run(1, "a", attempt=1), run(1, "A", attempt=2)]) == [("test", A)]


def test_a_test_that_broke_and_was_repaired_is_not_flaky() -> None:
    assert flaky([run(1, "A"), run(2, "a"), run(3, "a"), run(4, "A")]) == []


def test_a_test_that_keeps_changing_is_flaky() -> None:
    runs = [run(1, "A"), run(2, "a"), run(3, "A"), run(4, "a")]
    ((_, history),) = find_flaky(runs, find_suspects(runs, 100))
    assert (history.same_commit, history.changes, history.failed_run.build_id) == (False, 3, 4)


def test_results_of_other_branches_are_no_changes() -> None:
    runs = [run(number, "Aa"[number % 2], ref=("main", "broken")[number % 2]) for number in range(8)]
    assert flaky(runs) == []


def test_jobs_with_other_names_are_compared_separately() -> None:
    assert flaky([run(1, "a", "x", job="old python"), run(2, "A", "x", job="new python")]) == []


def test_different_results_of_one_commit_come_first() -> None:
    runs = [run(1, "aB", "x"), run(2, "Ab", "x"), run(3, "ab"), run(4, "aB")]
    assert flaky([*runs, run(5, "B"), run(6, "b"), run(7, "B")]) == [("test", B), ("test", A)]


def test_the_number_of_suspects_is_limited() -> None:
    assert find_suspects([run(2, "a"), run(1, "b")], 1) == {"test": {A}}
