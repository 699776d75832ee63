"""The demo shows every log line once, whether it was read live or afterwards."""

from collections.abc import Iterator
from typing import Any

from client.errors import ApiError
from client.http_client import Client
from infra.demo.log_reader import BuildWaiting, LogEvent, LogLine, LogReader, StepFinished, StepStarted

AT = "2026-01-31T12:00:00Z"
LATER = "2026-01-31T12:00:02Z"


class ScriptedClient(Client):
    def __init__(self, *responses: Any) -> None:
        self.paths: list[str] = []
        self._responses = iter(responses)

    def get(self, path: str, **params: Any) -> Any:
        self.paths.append(path.removeprefix("/developer/"))
        response = next(self._responses)
        if isinstance(response, Exception):
            raise response
        return response


def api_error(code: str) -> ApiError:
    return ApiError(404, code, "")


def section(step: str, log: str, lines: int = 0, *, closed: bool = False, skipped: bool = False) -> dict[str, Any]:
    closed_at = LATER if closed else None
    return {
        "step": step,
        "log": log,
        "line_number": lines,
        "start_at": AT,
        "closed_at": closed_at,
        "success": closed or None,
        "skipped": skipped or None,
    }


FINISHED = api_error("EXECUTOR_NOT_FOUND")
NO_MORE = api_error("LOG_NOT_FOUND")


def read_log(*responses: Any) -> tuple[list[LogEvent], list[str]]:
    api = ScriptedClient(*responses)
    return list(LogReader(api, "e-1", 7).read_events()), api.paths


def texts(read_events: list[LogEvent]) -> Iterator[str]:
    return (event.text for event in read_events if isinstance(event, LogLine))


def test_log_lines_are_read_in_order_through_all_steps() -> None:
    read_events, requested_paths = read_log(
        section("init", "\ncloning", 1),
        section("init", "\ndone", 2, closed=True),
        section("build", "one\ntwo", 2, closed=True),
        FINISHED,
        section("init", "cloning\ndone", closed=True),
        section("build", "one\ntwo", closed=True),
        NO_MORE,
    )
    assert read_events == [
        StepStarted("init"),
        LogLine("cloning"),
        LogLine("done"),
        StepFinished("init", 2.0, success=True, skipped=False),
        StepStarted("build"),
        LogLine("one"),
        LogLine("two"),
        StepFinished("build", 2.0, success=True, skipped=False),
    ]
    assert requested_paths[:3] == ["logs/e-1/-1/0", "logs/e-1/init/1", "logs/e-1/init/2"]


def test_lines_missed_in_the_live_log_are_read_from_the_finished_log() -> None:
    read_events, requested_paths = read_log(
        section("init", "\ncloning", 1),
        FINISHED,
        section("init", "cloning\ndone", closed=True),
        section("build", "one", closed=True),
        NO_MORE,
    )
    assert list(texts(read_events)) == ["cloning", "done", "one"]
    assert requested_paths[2:] == ["logs/7/-1", "logs/7/init", "logs/7/build"]


def test_empty_log_lines_are_kept() -> None:
    read_events, _ = read_log(
        section("init", "\n\n\nthree", 3, closed=True),
        section("build", "\ntwo", 2, closed=True),
        FINISHED,
        section("init", "\n\nthree", closed=True),
        section("build", "\ntwo", closed=True),
        NO_MORE,
    )
    assert list(texts(read_events)) == ["", "", "three", "", "two"]


def test_a_skipped_step_is_shown_without_lines() -> None:
    read_events, _ = read_log(FINISHED, section("deploy", "", closed=True, skipped=True), NO_MORE)
    assert read_events == [StepStarted("deploy"), StepFinished("deploy", 2.0, success=True, skipped=True)]


def test_a_waiting_build_shows_its_wait_reason() -> None:
    waiting = {"step": "init", "log": "Please wait", "line_number": 0, "closed_at": None}
    queued = [{"executor_id": "e-1", "reason": "Waits for a free runner."}]
    read_events, _ = read_log(waiting, queued, FINISHED, section("init", "cloning", closed=True), NO_MORE)
    assert read_events[0] == BuildWaiting("Waits for a free runner.")
    assert list(texts(read_events)) == ["cloning"]
