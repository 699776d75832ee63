"""Runners that wait for a job on this gateway, and who of them is called when one is queued."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from contracts.builds import JobQueued, JobRequirements, RunnerDescription


def can_run(offer: RunnerDescription, job: JobQueued) -> bool:
    """Whether the runner may take the job, as far as the event tells; the claim decides."""
    return JobRequirements.from_job(job.job.tags, job.project, protected=job.protected).satisfied_by(
        offer, job.project_id
    )


@dataclass(eq=False, slots=True)
class PendingPoll:
    """One held request."""

    offer: RunnerDescription | None = None  # nothing: the runner may take no job at present
    runner_uuid: str = ""
    notified_jobs: list[JobQueued] = field(default_factory=list)
    wake_up: asyncio.Event = field(default_factory=asyncio.Event)  # something happened: look again
    is_stale: bool = True  # what is known of the runner may be out of date: ask before it gets a job
    is_disconnected: bool = False  # its client is no longer there
    claim_id: str = ""  # of all its claims; the same if the client repeats its request
    seen_cursor: str = ""  # what the news were when it last looked for work, as far as is known

    def disconnect(self) -> None:
        self.is_disconnected = True
        self.wake_up.set()


class LongPollQueue:
    """In the order in which they came: whoever waits longest is called first."""

    def __init__(self) -> None:
        self._polls: list[PendingPoll] = []
        self._process_id = secrets.token_hex(4)  # what another process has heard is another story
        self._hint_count = 0
        self.is_closed = False

    def __len__(self) -> int:
        return len(self._polls)

    @property
    def cursor(self) -> str:
        """Another one after everything that may bring work to somebody."""
        return f"{self._process_id}-{self._hint_count}"

    def advance_cursor(self) -> None:
        self._hint_count += 1

    @contextmanager
    def enter(self) -> Iterator[PendingPoll]:
        """A place at the end. Calls that were not answered when it is left go to somebody else."""
        waiter = PendingPoll()
        self._polls.append(waiter)
        try:
            yield waiter
        finally:
            self._polls.remove(waiter)
            for job in waiter.notified_jobs:
                self.notify(job)

    def notify(self, job: JobQueued) -> None:
        """Wake one runner that may take the job: one that was not called yet, or else the one with the fewest calls."""
        able = (each for each in self._polls if not each.is_disconnected and each.offer and can_run(each.offer, job))
        waiter = min(able, key=lambda each: len(each.notified_jobs), default=None)
        if waiter:
            waiter.notified_jobs.append(job)
            waiter.wake_up.set()

    def update_offer(self, poll: PendingPoll, offer: RunnerDescription | None) -> None:
        """What the runner may take now; calls that no longer fit go to somebody else."""
        poll.offer = offer
        strange = [job for job in poll.notified_jobs if offer is None or not can_run(offer, job)]
        poll.notified_jobs = [job for job in poll.notified_jobs if job not in strange]
        for job in strange:
            self.notify(job)

    def invalidate_runner(self, runner_uuid: str) -> None:
        """Its settings are other ones: it looks again at once.

        So does who is just asking who it is: it may be told what was true before.
        """
        for waiter in self._polls:
            if waiter.runner_uuid in {"", runner_uuid}:
                waiter.is_stale = True
                waiter.wake_up.set()

    def close(self) -> None:
        """The process ends: everybody is sent away without a job."""
        self.is_closed = True
        for waiter in self._polls:
            waiter.wake_up.set()
