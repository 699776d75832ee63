"""The log of a build as its reader meets it: step by step and line by line, live, then what was left to read."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from infra.demonstration.api import Api, Refusal
from infra.local.process import StackError

FIRST = "-1"
PATIENCE = 120.0  # seconds until a build must have begun
POLL = 0.15  # seconds between two looks at a log that has nothing new


@dataclass(frozen=True, slots=True)
class Opened:
    step: str


@dataclass(frozen=True, slots=True)
class Line:
    text: str


@dataclass(frozen=True, slots=True)
class Closed:
    step: str
    seconds: float
    success: bool | None
    skipped: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    reason: str


News = Opened | Line | Closed | Waiting


class Reader:
    """Remembers what was shown, so that the finished log only adds to the live one."""

    def __init__(self, api: Api, executor_id: str, build_id: int) -> None:
        self._api = api
        self._executor_id = executor_id
        self._build_id = build_id
        self._step = ""
        self._started = ""
        self._closed = False
        self._shown: dict[str, int] = {}  # lines by step

    def news(self) -> Iterator[News]:
        """Until the build is over."""
        yield from self._live()
        yield from self._finished()

    def _live(self) -> Iterator[News]:
        deadline = time.monotonic() + PATIENCE
        while True:
            place = f"{self._step or FIRST}/{self._shown.get(self._step, 0)}"
            try:
                section = self._api.get(f"/developer/logs/{self._executor_id}/{place}")
            except Refusal as refusal:
                if refusal.code != "EXECUTOR_NOT_FOUND":
                    raise
                return
            if section["line_number"] == 0 and not self._step:
                reason = self._reason()
                if time.monotonic() > deadline:
                    raise StackError(f"The build has not begun for {PATIENCE:g} s: {reason}")
                yield Waiting(reason)
                time.sleep(POLL)
                continue
            news = list(self._of(section, self._missing(section)))
            yield from news
            if not news and self._closed and self._is_over():
                return  # the live log is answered for some seconds more
            if not news:
                time.sleep(POLL)

    def _missing(self, section: dict[str, Any]) -> list[str]:
        """Lines that continue a section come with a line break before each, those of the next section between them."""
        continued = self._step in ("", section["step"])
        missing = section["line_number"] - (self._shown.get(self._step, 0) if continued else 0)
        text = section["log"].removeprefix("\n") if continued else section["log"]
        return text.split("\n") if missing > 0 else []

    def _reason(self) -> str:
        queued = self._api.get("/developer/builds/queueds")
        mine = (each["reason"] for each in queued if each["executor_id"] == self._executor_id)
        return next(mine, "The runner has it.")

    def _is_over(self) -> bool:
        running = self._api.get("/developer/builds/executeds")
        return all(each["executor_id"] != self._executor_id for each in running)

    def _finished(self) -> Iterator[News]:
        step = FIRST
        while True:
            try:
                section = self._api.get(f"/developer/logs/{self._build_id}/{step}")
            except Refusal as refusal:
                if refusal.code != "LOG_NOT_FOUND":
                    raise
                return
            step = section["step"]
            if step in self._shown and (step != self._step or self._closed):
                continue  # it was read to its end while it ran
            lines = section["log"].split("\n") if section["log"] else []
            yield from self._of(section, lines[self._shown.get(step, 0) :])

    def _of(self, section: dict[str, Any], lines: list[str]) -> Iterator[News]:
        if section["step"] != self._step:
            if self._step and not self._closed:
                yield Closed(self._step, _seconds(self._started, section["start_at"]), True, False)  # else none follows
            self._step, self._started, self._closed = section["step"], section["start_at"], False
            yield Opened(self._step)
        self._shown[self._step] = self._shown.get(self._step, 0) + len(lines)
        yield from map(Line, lines)
        if section["closed_at"] and not self._closed:
            self._closed = True
            took = _seconds(section["start_at"], section["closed_at"])
            yield Closed(self._step, took, section["success"], bool(section["skipped"]))


def _seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
