"""The output of a build while it runs: its status, and the logs of its jobs, one job after the other."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from client.builds.job_log import JobLog
from client.builds.overview import FINISHED_BUILD, WITHOUT_LOG, Json, select_jobs
from client.http_client import Client

POLL_SECONDS = 0.5
MAX_POLL_SECONDS = 2.0  # longest pause between requests while nothing changes


@dataclass(frozen=True, slots=True)
class BuildChanged:
    """The status of the build, or of one of its jobs, changed."""

    build: Json


@dataclass(frozen=True, slots=True)
class LogStarted:
    """The log of an attempt of a job starts: the following LogLines belong to it."""

    job: Json


@dataclass(frozen=True, slots=True)
class LogLines:
    lines: Sequence[str]


BuildEvent = BuildChanged | LogStarted | LogLines


class BuildFollower:
    """Yields the changes and log lines of a build until it has finished.

    Logs are yielded one after the other, in the order in which the jobs started. The log of a job that runs at the same
    time is yielded after the previous log is complete. Each attempt of a job has a log of its own. `names` and `failed`
    select the jobs whose logs are yielded, see `select_jobs`.
    """

    def __init__(
        self,
        client: Client,
        get_build: Callable[[], Json],
        *,
        names: Sequence[str] = (),
        failed: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._get_build = get_build
        self._names = names
        self._failed = failed
        self._sleep = sleep
        self._shown: set[tuple[int, int]] = set()  # job and attempt of each log that was yielded completely
        self._current: tuple[int, int] | None = None
        self._log: JobLog | None = None

    def follow(self) -> Iterator[BuildEvent]:
        state, pause = None, POLL_SECONDS
        while True:
            build = self._get_build()
            has_news = False
            if (new_state := _summarize(build)) != state:
                state, has_news = new_state, True
                yield BuildChanged(build)
            for event in self._read_logs(build):
                has_news = True
                yield event
            if build["status"] in FINISHED_BUILD:
                return
            pause = POLL_SECONDS if has_news else min(pause * 1.3, MAX_POLL_SECONDS)
            self._sleep(pause)

    def _read_logs(self, build: Json) -> Iterator[BuildEvent]:
        over = build["status"] in FINISHED_BUILD
        for job in sorted(select_jobs(build["jobs"], self._names, failed=self._failed), key=_start_order):
            place = (job["id"], job["attempt"])
            if place in self._shown or job["status"] in WITHOUT_LOG or not job["attempt"]:
                continue
            if self._current != place:
                self._current, self._log = place, JobLog(self._client, *place)
                yield LogStarted(job)
            if self._log:
                yield from map(LogLines, self._log.read_new())
                if not self._log.finished and not over:
                    return
            self._shown.add(place)


def _start_order(job: Json) -> tuple[str, int]:
    return job["started_at"] or "~", job["id"]


def _summarize(build: Json) -> tuple[object, ...]:
    jobs = tuple((job["id"], job["status"], job["attempt"], job["runner"]) for job in build["jobs"])
    return build["status"], build["waiting_for"], jobs
