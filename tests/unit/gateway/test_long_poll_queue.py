"""Long polls of runners: which runners fit a job, which one is notified, and that no notification is lost."""

import asyncio
from datetime import UTC, datetime

import pytest

from contracts.builds import JobQueued, LaunchedProject, PlannedJob, RunnerDescription
from gateway.streaming.long_polls import LongPollQueue, PendingPoll, can_run

ANY = RunnerDescription(runner_id=1, runner_uuid="r-1", name="any")
LINUX = ANY.replace(tags=("linux", "amd64"))
TAGGED_ONLY = LINUX.replace(run_untagged=False)
PROTECTED = ANY.replace(protected=True)
OF_PROJECT = ANY.replace(owner_type="PROJECT", owner_id=84)
OF_ANOTHER = ANY.replace(owner_type="PROJECT", owner_id=85)
OF_COMPANY = ANY.replace(owner_type="COMPANY", owner_id=4)
OF_ANOTHER_COMPANY = ANY.replace(owner_type="COMPANY", owner_id=5)

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
FOR_LINUX = PLAIN.replace(job=PLAIN.job.replace(tags=("linux",)))
FOR_GPU = PLAIN.replace(job=PLAIN.job.replace(tags=("linux", "gpu")))
OF_COMPANYS_PROJECT = PLAIN.replace(project=PROJECT.replace(company_id=4))
ON_PROTECTED = PLAIN.replace(protected=True)
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("offer", "job", "fits_job"),
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
def test_a_runner_fits_a_job_by_tags_scope_and_protection(
    offer: RunnerDescription, job: JobQueued, fits_job: bool
) -> None:
    assert can_run(offer, job) is fits_job


def enter(waiting: LongPollQueue, waiter: PendingPoll, offer: RunnerDescription = ANY) -> None:
    waiting.update_offer(waiter, offer)


def test_the_longest_waiting_runner_is_notified_first() -> None:
    waiting = LongPollQueue()
    with waiting.enter() as first, waiting.enter() as second:
        enter(waiting, first)
        enter(waiting, second)
        waiting.notify(PLAIN)
        assert (first.wake_up.is_set(), second.wake_up.is_set()) == (True, False)


def test_the_next_job_notifies_the_next_runner() -> None:
    waiting = LongPollQueue()
    with waiting.enter() as first, waiting.enter() as second:
        enter(waiting, first)
        enter(waiting, second)
        waiting.notify(PLAIN)
        waiting.notify(PLAIN.replace(job_id=12))
        assert second.notified_jobs == [PLAIN.replace(job_id=12)]


def test_runners_that_do_not_fit_a_job_are_not_notified() -> None:
    waiting = LongPollQueue()
    with waiting.enter() as plain, waiting.enter() as paused, waiting.enter() as linux:
        enter(waiting, plain)
        waiting.update_offer(paused, None)
        enter(waiting, linux, LINUX)
        waiting.notify(FOR_LINUX)
        assert (plain.notified_jobs, paused.notified_jobs, linux.notified_jobs) == ([], [], [FOR_LINUX])


def test_an_unanswered_notification_goes_to_the_next_runner() -> None:
    waiting = LongPollQueue()
    with waiting.enter() as second:
        with waiting.enter() as first:
            enter(waiting, first)
            waiting.notify(PLAIN)
            enter(waiting, second)
        assert second.notified_jobs == [PLAIN]


def test_an_edited_runner_passes_on_jobs_that_no_longer_fit() -> None:
    waiting = LongPollQueue()
    with waiting.enter() as edited, waiting.enter() as other:
        enter(waiting, edited, LINUX)
        enter(waiting, other, LINUX)
        waiting.notify(FOR_LINUX)
        waiting.update_offer(edited, ANY)
        assert (edited.notified_jobs, other.notified_jobs) == ([], [FOR_LINUX])


def test_a_disconnected_client_is_not_notified() -> None:
    waiting = LongPollQueue()
    with waiting.enter() as gone, waiting.enter() as there:
        enter(waiting, gone)
        enter(waiting, there)
        gone.disconnect()
        waiting.notify(PLAIN)
        assert (gone.notified_jobs, there.notified_jobs) == ([], [PLAIN])


def test_closing_the_queue_wakes_all_waiting_runners() -> None:
    waiting = LongPollQueue()
    with waiting.enter() as waiter:
        waiting.close()
        assert waiting.is_closed
        assert waiter.wake_up.is_set()
    assert len(waiting) == 0


@pytest.mark.parametrize(("known", "expected"), [("r-1", True), ("", True), ("r-2", False)])
def test_a_changed_or_unidentified_runner_checks_again_for_jobs(known: str, expected: bool) -> None:
    waiting = LongPollQueue()
    with waiting.enter() as waiter:
        waiter.runner_uuid, waiter.is_stale = known, False
        waiting.invalidate_runner("r-1")
        assert (waiter.is_stale, waiter.wake_up.is_set()) == (expected, expected)


def test_a_request_claims_again_after_its_runner_has_changed() -> None:
    waiting = LongPollQueue()
    with waiting.enter() as poll:
        poll.seen_cursor = waiting.cursor  # from the client, or from before a claim with the old settings
        waiting.update_offer(poll, ANY)
        assert poll.seen_cursor == waiting.cursor
        waiting.update_offer(poll, ANY.replace(run_untagged=False))
        assert poll.seen_cursor == ""


async def accept() -> bool:
    return True


async def refuse() -> bool:
    return False


async def test_a_granted_offer_wakes_one_idle_request() -> None:
    waiting = LongPollQueue()
    with waiting.enter() as first, waiting.enter() as second:
        enter(waiting, first)
        enter(waiting, second)
        await waiting.notify_if_granted(PLAIN, accept)
        await waiting.notify_if_granted(PLAIN.replace(job_id=12), refuse)
        assert (first.notified_jobs, second.notified_jobs, second.wake_up.is_set()) == ([PLAIN], [], False)


async def test_an_offer_is_not_accepted_without_an_idle_request() -> None:
    waiting = LongPollQueue()
    with waiting.enter() as busy, waiting.enter() as other_busy:
        for poll in (busy, other_busy):
            enter(waiting, poll)
            poll.is_busy = True
        await waiting.notify_if_granted(PLAIN, pytest.fail)
        waiting.take_missed_job(busy)  # the claim of this request got no job
        waiting.take_missed_job(other_busy)
        assert (busy.notified_jobs, other_busy.notified_jobs) == ([PLAIN], [])


async def test_an_offer_granted_after_the_request_has_left_goes_to_another_request() -> None:
    waiting = LongPollQueue()
    with waiting.enter() as other:
        with waiting.enter() as leaving:
            enter(waiting, leaving)
            granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            offer = asyncio.create_task(waiting.notify_if_granted(PLAIN, lambda: granted))
            await asyncio.sleep(0)
        enter(waiting, other)
        granted.set_result(True)
        await offer
        assert other.notified_jobs == [PLAIN]
