"""Waiting runners: who fits, who is called, and that no call is lost."""

from datetime import UTC, datetime

import pytest

from contracts.builds import JobQueued, LaunchedProject, PlannedJob, RunnerOffer
from gateway.waiting import Waiter, WaitingRunners, fits

ANY = RunnerOffer(runner_id=1, runner_uuid="r-1", name="any")
LINUX = ANY.but(tags=("linux", "amd64"))
TAGGED_ONLY = LINUX.but(run_untagged=False)
PROTECTED = ANY.but(protected=True)
OF_PROJECT = ANY.but(owner_type="PROJECT", owner_id=84)
OF_ANOTHER = ANY.but(owner_type="PROJECT", owner_id=85)
OF_COMPANY = ANY.but(owner_type="COMPANY", owner_id=4)
OF_ANOTHER_COMPANY = ANY.but(owner_type="COMPANY", owner_id=5)

PROJECT = LaunchedProject(
    project_id=84, name="Mill", owner_alias="ivan", alias="mill", repository="r", branch="main", spec_file_path="/c"
)
PLAIN = JobQueued(
    job_id=11,
    job_uuid="j-11",
    build_id=17,
    project_id=84,
    owner_alias="ivan",
    attempt=1,
    ref="main",
    sha="f" * 40,
    project=PROJECT,
    job=PlannedJob(job_id=11, job_uuid="j-11", name="build"),
)
FOR_LINUX = PLAIN.but(job=PLAIN.job.but(tags=("linux",)))
FOR_GPU = PLAIN.but(job=PLAIN.job.but(tags=("linux", "gpu")))
OF_COMPANYS_PROJECT = PLAIN.but(project=PROJECT.but(company_id=4))
ON_PROTECTED = PLAIN.but(protected=True)
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("offer", "job", "may"),
    [
        (ANY, PLAIN, True),
        (ANY, FOR_LINUX, False),
        (LINUX, FOR_LINUX, True),
        (LINUX, FOR_GPU, False),
        (LINUX, PLAIN, True),
        (TAGGED_ONLY, PLAIN, False),
        (TAGGED_ONLY, FOR_LINUX, True),
        (PROTECTED, PLAIN, False),
        (PROTECTED, ON_PROTECTED, True),
        (ANY, ON_PROTECTED, True),
        (OF_PROJECT, PLAIN, True),
        (OF_ANOTHER, PLAIN, False),
        (OF_COMPANY, PLAIN, False),
        (OF_COMPANY, OF_COMPANYS_PROJECT, True),
        (OF_ANOTHER_COMPANY, OF_COMPANYS_PROJECT, False),
    ],
)
def test_a_runner_fits_a_job(offer: RunnerOffer, job: JobQueued, may: bool) -> None:
    assert fits(offer, job) is may


def enter(waiting: WaitingRunners, waiter: Waiter, offer: RunnerOffer = ANY) -> None:
    waiting.settle(waiter, offer)


def test_whoever_waits_longest_is_called_first() -> None:
    waiting = WaitingRunners()
    with waiting.place() as first, waiting.place() as second:
        enter(waiting, first)
        enter(waiting, second)
        waiting.call(PLAIN)
        assert (first.signal.is_set(), second.signal.is_set()) == (True, False)


def test_the_next_job_calls_the_next_runner() -> None:
    waiting = WaitingRunners()
    with waiting.place() as first, waiting.place() as second:
        enter(waiting, first)
        enter(waiting, second)
        waiting.call(PLAIN)
        waiting.call(PLAIN.but(job_id=12))
        assert second.calls == [PLAIN.but(job_id=12)]


def test_runners_that_do_not_fit_are_passed_over() -> None:
    waiting = WaitingRunners()
    with waiting.place() as plain, waiting.place() as paused, waiting.place() as linux:
        enter(waiting, plain)
        waiting.settle(paused, None)
        enter(waiting, linux, LINUX)
        waiting.call(FOR_LINUX)
        assert (plain.calls, paused.calls, linux.calls) == ([], [], [FOR_LINUX])


def test_a_call_that_nobody_answered_goes_to_the_next() -> None:
    waiting = WaitingRunners()
    with waiting.place() as second:
        with waiting.place() as first:
            enter(waiting, first)
            waiting.call(PLAIN)
            enter(waiting, second)
        assert second.calls == [PLAIN]


def test_a_runner_that_was_edited_hands_on_what_no_longer_fits() -> None:
    waiting = WaitingRunners()
    with waiting.place() as edited, waiting.place() as other:
        enter(waiting, edited, LINUX)
        enter(waiting, other, LINUX)
        waiting.call(FOR_LINUX)
        waiting.settle(edited, ANY)
        assert (edited.calls, other.calls) == ([], [FOR_LINUX])


def test_nobody_calls_a_client_that_is_gone() -> None:
    waiting = WaitingRunners()
    with waiting.place() as gone, waiting.place() as there:
        enter(waiting, gone)
        enter(waiting, there)
        gone.leave()
        waiting.call(PLAIN)
        assert (gone.calls, there.calls) == ([], [PLAIN])


def test_a_closed_list_sends_everybody_away() -> None:
    waiting = WaitingRunners()
    with waiting.place() as waiter:
        waiting.close()
        assert waiting.closed
        assert waiter.signal.is_set()
    assert len(waiting) == 0


@pytest.mark.parametrize(("known", "again"), [("r-1", True), ("", True), ("r-2", False)])
def test_a_change_of_a_runner_has_it_look_again_also_while_it_is_not_known_yet(known: str, again: bool) -> None:
    waiting = WaitingRunners()
    with waiting.place() as waiter:
        waiter.runner_uuid, waiter.stale = known, False
        waiting.changed("r-1")
        assert (waiter.stale, waiter.signal.is_set()) == (again, again)
