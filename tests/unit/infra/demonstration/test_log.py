"""The demonstration shows every line of a log once, whatever was read live and whatever only afterwards."""

from collections.abc import Iterator
from typing import Any

from infra.demo.api_client import ApiClient, ApiError
from infra.demo.log_reader import BuildWaiting, LogEvent, LogLine, LogReader, StepFinished, StepStarted

AT = "2026-01-31T12:00:00Z"
LATER = "2026-01-31T12:00:02Z"


class Scripted(ApiClient):
    """Answers what it was told to answer, and remembers what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.asked: list[str] = []
        self._answers = iter(answers)

    def get(self, path: str) -> Any:
        self.asked.append(path.removeprefix("/developer/"))
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


def refusal(code: str) -> ApiError:
    return ApiError("GET /", 404, code, "")


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


OVER = refusal("EXECUTOR_NOT_FOUND")
NO_MORE = refusal("LOG_NOT_FOUND")


def read(*answers: Any) -> tuple[list[LogEvent], list[str]]:
    api = Scripted(*answers)
    return list(LogReader(api, "e-1", 7).read_events()), api.asked


def texts(news: list[LogEvent]) -> Iterator[str]:
    return (one.text for one in news if isinstance(one, LogLine))


def test_log_lines_are_read_in_order_through_all_steps() -> None:
    news, asked = read(
        section("init", "\ncloning", 1),
        section("init", "\ndone", 2, closed=True),
        section("build", "one\ntwo", 2, closed=True),
        OVER,
        section("init", "cloning\ndone", closed=True),
        section("build", "one\ntwo", closed=True),
        NO_MORE,
    )
    assert news == [
        StepStarted("init"),
        LogLine("cloning"),
        LogLine("done"),
        StepFinished("init", 2.0, success=True, skipped=False),
        StepStarted("build"),
        LogLine("one"),
        LogLine("two"),
        StepFinished("build", 2.0, success=True, skipped=False),
    ]
    assert asked[:3] == ["logs/e-1/-1/0", "logs/e-1/init/1", "logs/e-1/init/2"]


def test_lines_missed_in_the_live_log_are_read_from_the_finished_log() -> None:
    news, asked = read(
        section("init", "\ncloning", 1),
        OVER,
        section("init", "cloning\ndone", closed=True),
        section("build", "one", closed=True),
        NO_MORE,
    )
    assert list(texts(news)) == ["cloning", "done", "one"]
    assert asked[2:] == ["logs/7/-1", "logs/7/init", "logs/7/build"]


def test_empty_log_lines_are_kept() -> None:
    news, _ = read(
        section("init", "\n\n\nthree", 3, closed=True),
        section("build", "\ntwo", 2, closed=True),
        OVER,
        section("init", "\n\nthree", closed=True),
        section("build", "\ntwo", closed=True),
        NO_MORE,
    )
    assert list(texts(news)) == ["", "", "three", "", "two"]


def test_a_skipped_step_is_shown_without_lines() -> None:
    news, _ = read(OVER, section("deploy", "", closed=True, skipped=True), NO_MORE)
    assert news == [StepStarted("deploy"), StepFinished("deploy", 2.0, success=True, skipped=True)]


def test_a_waiting_build_shows_its_wait_reason() -> None:
    waiting = {"step": "init", "log": "Please wait", "line_number": 0, "closed_at": None}
    queued = [{"executor_id": "e-1", "reason": "Waits for a free runner."}]
    news, _ = read(waiting, queued, OVER, section("init", "cloning", closed=True), NO_MORE)
    assert news[0] == BuildWaiting("Waits for a free runner.")
    assert list(texts(news)) == ["cloning"]
