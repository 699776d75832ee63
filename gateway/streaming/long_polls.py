"""Requests of runners that are held until a job is queued, and the choice of the request to wake for a job."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from contracts.builds import JobQueued, JobRequirements, RunnerDescription

MAX_MISSED_JOBS = 10  # limit per request; further jobs are found by its next claim


def can_run(runner: RunnerDescription, job: JobQueued) -> bool:
    """Return whether the runner may run the job according to the event. The claim makes the final decision."""
    return JobRequirements.from_job(job.job.tags, job.project, protected=job.protected).satisfied_by(
        runner, job.project_id
    )


@dataclass(eq=False, slots=True)
class PendingPoll:
    """One held request of a runner."""

    offer: RunnerDescription | None = None  # what the runner can run; None: it is paused, or not authenticated yet
    runner_uuid: str = ""
    notified_jobs: list[JobQueued] = field(default_factory=list)
    wake_up: asyncio.Event = field(default_factory=asyncio.Event)  # set when the request must check for jobs again
    is_stale: bool = True  # the runner's settings may have changed: reload them before the next claim
    is_disconnected: bool = False  # the client closed the connection
    claim_id: str = ""  # command id of this request's claims; the same if the client repeats the request
    seen_cursor: str = ""  # the queue's cursor at this request's latest claim; empty: unknown
    has_claimed: bool = False  # a claim of this request was answered
    is_busy: bool = False  # a claim, or the acceptance of an offered job, is in progress
    missed_jobs: list[JobQueued] = field(default_factory=list)  # matching jobs queued while the request was busy

    def disconnect(self) -> None:
        self.is_disconnected = True
        self.wake_up.set()


class LongPollQueue:
    """The held requests of runners in order of arrival."""

    def __init__(self) -> None:
        self._polls: list[PendingPoll] = []
        self._process_id = secrets.token_hex(4)  # part of cursors, which must differ between processes
        self._hint_count = 0
        self.is_closed = False

    def __len__(self) -> int:
        return len(self._polls)

    @property
    def idle_count(self) -> int:
        """The number of requests that would accept a job."""
        return sum(not poll.is_busy and not poll.notified_jobs and poll.offer is not None for poll in self._polls)

    @property
    def cursor(self) -> str:
        """A value that changes whenever new jobs may be available."""
        return f"{self._process_id}-{self._hint_count}"

    def advance_cursor(self) -> None:
        self._hint_count += 1

    @contextmanager
    def enter(self) -> Iterator[PendingPoll]:
        """Queue a request for the duration of the block.

        Afterwards, notify other requests of the jobs that this request was notified of and did not claim.
        """
        poll = PendingPoll()
        self._polls.append(poll)
        try:
            yield poll
        finally:
            self._polls.remove(poll)
            for job in poll.notified_jobs:
                self.notify(job)

    def notify(self, job: JobQueued) -> None:
        """Wake one eligible request for the job: the longest-waiting among those woken for the fewest jobs."""
        poll = min(self._list_eligible(job), key=lambda candidate: len(candidate.notified_jobs), default=None)
        if poll:
            poll.notified_jobs.append(job)
            poll.wake_up.set()

    async def notify_if_granted(self, job: JobQueued, accept: Callable[[], Awaitable[bool]]) -> None:
        """Wake the longest-waiting idle request for an offered job, if this gateway gets the offer.

        Without an idle request the offer is not accepted. A busy request that gets no job is notified of this job
        afterwards, and each later request starts with a claim.
        """
        eligible = list(self._list_eligible(job))
        poll = next((poll for poll in eligible if not poll.is_busy and not poll.notified_jobs), None)
        if poll is None:
            for busy in eligible:
                busy.missed_jobs = [*busy.missed_jobs, job][:MAX_MISSED_JOBS]
            return
        poll.is_busy = True
        try:
            is_granted = await accept()
        finally:
            poll.is_busy = False
        if is_granted and poll in self._polls and not poll.is_disconnected:
            poll.notified_jobs.append(job)
        elif is_granted:
            self.notify(job)
        else:
            self.take_missed_job(poll)
        if poll.notified_jobs:
            poll.wake_up.set()

    def take_missed_job(self, poll: PendingPoll) -> None:
        """Notify a request that got no job of the first job it missed, which the other requests then forget."""
        if poll.missed_jobs:
            job = poll.missed_jobs[0]
            poll.notified_jobs.append(job)
            for other in self._polls:
                other.missed_jobs = [missed for missed in other.missed_jobs if missed.job_id != job.job_id]

    def _list_eligible(self, job: JobQueued) -> Iterator[PendingPoll]:
        """Yield the requests whose runners may run the job, the longest-waiting first."""
        return (poll for poll in self._polls if not poll.is_disconnected and poll.offer and can_run(poll.offer, job))

    def update_offer(self, poll: PendingPoll, offer: RunnerDescription | None) -> None:
        """Set what the runner may run now. Notify other requests of jobs that this runner may no longer run.

        After a change, the request claims at once, because jobs that its latest claim left may fit the runner.
        """
        if poll.offer and offer != poll.offer:
            poll.seen_cursor = ""
        poll.offer = offer
        unfit = [job for job in poll.notified_jobs if offer is None or not can_run(offer, job)]
        poll.notified_jobs = [job for job in poll.notified_jobs if job not in unfit]
        for job in unfit:
            self.notify(job)

    def invalidate_runner(self, runner_uuid: str) -> None:
        """Make the runner's requests reload the runner's settings at once.

        Requests that are still authenticating reload them, too: the settings that they receive may be outdated.
        """
        for poll in self._polls:
            if poll.runner_uuid in {"", runner_uuid}:
                poll.is_stale = True
                poll.wake_up.set()

    def close(self) -> None:
        """Answer all held requests without a job, at shutdown."""
        self.is_closed = True
        for poll in self._polls:
            poll.wake_up.set()
