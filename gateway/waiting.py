"""Runners that wait for a job on this gateway, and who of them is called when one is queued."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from contracts.builds import Demand, JobQueued, RunnerOffer


def fits(offer: RunnerOffer, job: JobQueued) -> bool:
    """Whether the runner may take the job, as far as the event tells; the claim decides."""
    return Demand.of(job.job.tags, job.project, protected=job.protected).met_by(offer, job.project_id)


@dataclass(eq=False, slots=True)
class Waiter:
    """One held request."""

    offer: RunnerOffer | None = None  # nothing: the runner may take no job at present
    runner_uuid: str = ""
    calls: list[JobQueued] = field(default_factory=list)
    signal: asyncio.Event = field(default_factory=asyncio.Event)  # something happened: look again
    stale: bool = True  # what is known of the runner may be out of date: ask before it gets a job
    gone: bool = False  # its client is no longer there
    claim_id: str = ""  # of all its claims; the same if the client repeats its request
    looked: str = ""  # what the news were when it last looked for work, as far as is known

    def leave(self) -> None:
        self.gone = True
        self.signal.set()


class WaitingRunners:
    """In the order in which they came: whoever waits longest is called first."""

    def __init__(self) -> None:
        self._waiters: list[Waiter] = []
        self._process = secrets.token_hex(4)  # what another process has heard is another story
        self._heard = 0
        self.closed = False

    def __len__(self) -> int:
        return len(self._waiters)

    @property
    def news(self) -> str:
        """Another one after everything that may bring work to somebody."""
        return f"{self._process}-{self._heard}"

    def hear(self) -> None:
        self._heard += 1

    @contextmanager
    def place(self) -> Iterator[Waiter]:
        """A place at the end. Calls that were not answered when it is left go to somebody else."""
        waiter = Waiter()
        self._waiters.append(waiter)
        try:
            yield waiter
        finally:
            self._waiters.remove(waiter)
            for job in waiter.calls:
                self.call(job)

    def call(self, job: JobQueued) -> None:
        """Wake one runner that may take the job: one that was not called yet, or else the one with the fewest calls."""
        able = (each for each in self._waiters if not each.gone and each.offer and fits(each.offer, job))
        waiter = min(able, key=lambda each: len(each.calls), default=None)
        if waiter:
            waiter.calls.append(job)
            waiter.signal.set()

    def settle(self, waiter: Waiter, offer: RunnerOffer | None) -> None:
        """What the runner may take now; calls that no longer fit go to somebody else."""
        waiter.offer = offer
        strange = [job for job in waiter.calls if offer is None or not fits(offer, job)]
        waiter.calls = [job for job in waiter.calls if job not in strange]
        for job in strange:
            self.call(job)

    def changed(self, runner_uuid: str) -> None:
        """Its settings are other ones: it looks again at once.

        So does who is just asking who it is: it may be told what was true before.
        """
        for waiter in self._waiters:
            if waiter.runner_uuid in {"", runner_uuid}:
                waiter.stale = True
                waiter.signal.set()

    def close(self) -> None:
        """The process ends: everybody is sent away without a job."""
        self.closed = True
        for waiter in self._waiters:
            waiter.signal.set()
