"""Reader of a build's log: live while the build runs, then the missing lines from the stored log."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from client.errors import ApiError
from client.http_client import Client
from infra.local.process import OperatorError

FIRST_SECTION = "-1"
START_TIMEOUT_SECONDS = 120.0  # maximum wait until the build starts
POLL_INTERVAL_SECONDS = 0.15  # interval of polls while the log has no new lines


@dataclass(frozen=True, slots=True)
class StepStarted:
    step: str


@dataclass(frozen=True, slots=True)
class LogLine:
    text: str


@dataclass(frozen=True, slots=True)
class StepFinished:
    step: str
    seconds: float
    success: bool | None
    skipped: bool


@dataclass(frozen=True, slots=True)
class BuildWaiting:
    reason: str


LogEvent = StepStarted | LogLine | StepFinished | BuildWaiting


class LogReader:
    """Reads the live log, then the stored log. Counts the lines of each step, so that no line is returned twice."""

    def __init__(self, api: Client, executor_id: str, build_id: int) -> None:
        self._api = api
        self._executor_id = executor_id
        self._build_id = build_id
        self._step = ""
        self._step_started_at = ""
        self._step_finished = False
        self._line_counts: dict[str, int] = {}  # lines returned so far, by step

    def read_events(self) -> Iterator[LogEvent]:
        yield from self._read_live_log()
        yield from self._read_finished_log()

    def _read_live_log(self) -> Iterator[LogEvent]:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            place = f"{self._step or FIRST_SECTION}/{self._line_counts.get(self._step, 0)}"
            try:
                section = self._api.get(f"/developer/logs/{self._executor_id}/{place}")
            except ApiError as refusal:
                if refusal.code != "EXECUTOR_NOT_FOUND":
                    raise
                return
            if section["line_number"] == 0 and not self._step:
                reason = self._wait_reason()
                if time.monotonic() > deadline:
                    raise OperatorError(f"The build did not start within {START_TIMEOUT_SECONDS:g} s: {reason}")
                yield BuildWaiting(reason)
                time.sleep(POLL_INTERVAL_SECONDS)
                continue
            news = list(self._section_events(section, self._new_lines(section)))
            yield from news
            if not news and self._step_finished and self._is_finished():
                return  # the live log of a finished build is complete and stays readable for some seconds
            if not news:
                time.sleep(POLL_INTERVAL_SECONDS)

    def _new_lines(self, section: dict[str, Any]) -> list[str]:
        """Return the new lines of a section. The text of a continued section starts with a line break."""
        continued = self._step in ("", section["step"])
        missing = section["line_number"] - (self._line_counts.get(self._step, 0) if continued else 0)
        text = section["log"].removeprefix("\n") if continued else section["log"]
        return text.split("\n") if missing > 0 else []

    def _wait_reason(self) -> str:
        queued = self._api.get("/developer/builds/queueds")
        mine = (each["reason"] for each in queued if each["executor_id"] == self._executor_id)
        return next(mine, "The job is assigned to a runner.")

    def _is_finished(self) -> bool:
        running = self._api.get("/developer/builds/executeds")
        return all(each["executor_id"] != self._executor_id for each in running)

    def _read_finished_log(self) -> Iterator[LogEvent]:
        step = FIRST_SECTION
        while True:
            try:
                section = self._api.get(f"/developer/logs/{self._build_id}/{step}")
            except ApiError as refusal:
                if refusal.code != "LOG_NOT_FOUND":
                    raise
                return
            step = section["step"]
            if step in self._line_counts and (step != self._step or self._step_finished):
                continue
            lines = section["log"].split("\n") if section["log"] else []
            yield from self._section_events(section, lines[self._line_counts.get(step, 0) :])

    def _section_events(self, section: dict[str, Any], lines: list[str]) -> Iterator[LogEvent]:
        if section["step"] != self._step:
            if self._step and not self._step_finished:
                # the live log went on to the next step without reporting the end of this one
                took = _seconds_between(self._step_started_at, section["start_at"])
                yield StepFinished(self._step, took, True, False)
            self._step, self._step_started_at, self._step_finished = section["step"], section["start_at"], False
            yield StepStarted(self._step)
        self._line_counts[self._step] = self._line_counts.get(self._step, 0) + len(lines)
        yield from map(LogLine, lines)
        if section["closed_at"] and not self._step_finished:
            self._step_finished = True
            took = _seconds_between(section["start_at"], section["closed_at"])
            yield StepFinished(self._step, took, section["success"], bool(section["skipped"]))


def _seconds_between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
