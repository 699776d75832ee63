"""The follower of a build yields each line of each job once, one job after the other."""

from collections.abc import Iterator
from typing import Any

from client.builds.build_follower import BuildChanged, BuildFollower, LogLines, LogStarted
from client.http_client import Client

Job = dict[str, Any]


def job(number: int, status: str, *, started: str | None = "2026-11-30T11:00:00Z", attempt: int = 1) -> Job:
    return {
        "id": number, "name": f"job-{number}", "status": status, "attempt": attempt, "runner": "r", "stage": "test",
        "started_at": started, "completed_at": None,
    }  # fmt: skip


def build(status: str, *jobs: Job) -> dict[str, Any]:
    return {"id": 1, "status": status, "waiting_for": None, "jobs": list(jobs)}


class FakeClient(Client):
    """Serves the logs as of the current step of the test's sequence of states."""

    def __init__(self, *steps: tuple[dict[str, Any], dict[tuple[int, int], str]]) -> None:
        self._steps: Iterator[tuple[dict[str, Any], dict[tuple[int, int], str]]] = iter(steps)
        self._state: dict[str, Any] = {}
        self._logs: dict[tuple[int, int], str] = {}

    def get_build(self) -> dict[str, Any]:
        self._state, self._logs = next(self._steps)
        return self._state

    def get(self, path: str, **params: Any) -> Any:
        """Return the complete lines from a position on, at most two of them."""
        job_id = int(path.split("/")[3])
        text = self._logs[job_id, params["attempt"]]
        finished = any(job["id"] == job_id and job["status"] != "RUNNING" for job in self._state["jobs"])
        lines = text.splitlines() if finished else text.split("\n")[:-1]
        end = min(params["from"] + 2, len(lines))
        chunks = [{"lines": lines[params["from"] : end]}] if end > params["from"] else []
        next_position = {"section": 0, "from": end}
        return {"chunks": chunks, "next": next_position, "more": end < len(lines), "finished": finished}


def follow(*steps: tuple[dict[str, Any], dict[tuple[int, int], str]], **options: Any) -> list[str]:
    client = FakeClient(*steps)
    shown = []
    for event in BuildFollower(client, client.get_build, sleep=lambda _: None, **options).follow():
        match event:
            case LogStarted(started):
                shown.append(f"{started['name']}#{started['attempt']}")
            case LogLines(lines):
                shown += lines
            case BuildChanged():
                pass
    return shown


def test_lines_are_shown_once_and_an_unfinished_line_when_it_is_complete() -> None:
    assert follow(
        (build("QUEUED"), {}),
        (build("RUNNING", job(1, "RUNNING")), {(1, 1): "one\ntw"}),
        (build("RUNNING", job(1, "RUNNING")), {(1, 1): "one\ntwo\n"}),
        (build("SUCCESS", job(1, "SUCCESS")), {(1, 1): "one\ntwo\nthree\nfour\nend"}),
    ) == ["job-1#1", "one", "two", "three", "four", "end"]


def test_jobs_that_run_at_the_same_time_are_shown_one_after_the_other() -> None:
    later = "2026-11-30T11:00:01Z"
    assert follow(
        (build("RUNNING", job(2, "RUNNING", started=later), job(1, "RUNNING")), {(1, 1): "a\n", (2, 1): "x\n"}),
        (build("RUNNING", job(2, "SUCCESS", started=later), job(1, "RUNNING")), {(1, 1): "a\nb\n", (2, 1): "x\ny\n"}),
        (build("SUCCESS", job(2, "SUCCESS", started=later), job(1, "FAILED")), {(1, 1): "a\nb\n", (2, 1): "x\ny\n"}),
    ) == ["job-1#1", "a", "b", "job-2#1", "x", "y"]


def test_another_attempt_has_its_own_log() -> None:
    assert follow(
        (build("RUNNING", job(1, "RUNNING")), {(1, 1): "lost\n"}),
        (build("RUNNING", job(1, "RUNNING", attempt=2)), {(1, 2): "again\n"}),
        (build("SUCCESS", job(1, "SUCCESS", attempt=2)), {(1, 2): "again\ndone\n"}),
    ) == ["job-1#1", "lost", "job-1#2", "again", "done"]


def test_only_failed_jobs_are_shown_on_request() -> None:
    assert follow(
        (build("FAILED", job(1, "SUCCESS"), job(2, "FAILED"), job(3, "SKIPPED")), {(2, 1): "wrong\n"}), failed=True
    ) == ["job-2#1", "wrong"]
