"""Output of a build: in a terminal the log with a tree of the jobs below it, elsewhere plain lines."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from client.builds.build_follower import BuildChanged, BuildEvent, LogLines, LogStarted
from client.builds.overview import FINISHED_BUILD, is_successful
from client.output.tables import STATUS_STYLES, format_duration
from client.output.terminal_text import clean_log_line, escape_controls, print_note, uses_colors

if TYPE_CHECKING:
    from rich.live import Live
    from rich.tree import Tree

Json = dict[str, Any]
SYMBOLS = {
    "SUCCESS": "✓",
    "WARNING": "!",
    "FAILED": "✗",
    "KILLED": "✗",
    "CANCELED": "✗",
    "LOST": "✗",
    "RUNNING": "●",
    "CANCELING": "●",
    "SKIPPED": "-",
    "MANUAL": "▷",
}


class BuildView:
    """Shows the events of a build. In a terminal, the tree of its jobs stays below the log while the build runs."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._colors = uses_colors()
        self._known: dict[object, str] = {}

    def __enter__(self) -> Self:
        if sys.stdout.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(highlight=False), transient=True, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def show(self, event: BuildEvent) -> None:
        match event:
            case BuildChanged(build) if self._live:
                self._live.update(build_tree(build))
            case BuildChanged(build):
                for line in self._describe_changes(build):
                    print_note(line)
            case LogStarted(job):
                self._print([f"==> {escape_controls(job['name'])} (job {job['id']}, {job['runner'] or 'no runner'})"])
            case LogLines(lines):
                self._print(clean_log_line(line, colors=self._colors) for line in lines)

    def _print(self, lines: Iterable[str]) -> None:
        if self._live:
            from rich.text import Text

            self._live.console.print(Text.from_ansi("\n".join(lines)), soft_wrap=True)
        else:
            print_lines(lines)

    def _describe_changes(self, build: Json) -> Iterator[str]:
        """Yield a line for each changed status of the build and its jobs."""
        states = [(f"build {build['id']}", build["status"], build["waiting_for"] or "")]
        states += [(f"job {job['name']}", job["status"], job["runner"] or "") for job in build["jobs"]]
        for name, status, more in states:
            text = f"{name}: {status}{f', {more}' if more else ''}"
            if self._known.get(name) != text:
                self._known[name] = text
                yield escape_controls(text)


def print_lines(lines: Iterable[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def build_tree(build: Json) -> "Tree":
    from rich.text import Text
    from rich.tree import Tree

    tree = Tree(_label(build, f"Build {build['id']} of {build['project']}"), guide_style="dim")
    if build["waiting_for"]:
        tree.add(Text(build["waiting_for"], "dim"))
    stages = list(dict.fromkeys(job["stage"] for job in build["jobs"]))
    for stage in stages:
        branch = tree.add(Text(stage, "bold")) if len(stages) > 1 else tree
        for job in build["jobs"]:
            if job["stage"] == stage:
                branch.add(_label(job, job["name"]))
    return tree


def _label(thing: Json, name: str) -> Any:
    from rich.text import Text

    status = thing["status"]
    style = STATUS_STYLES.get(status, "")
    took = describe_duration(thing)
    parts: list[str | tuple[str, str]] = [
        (f"{SYMBOLS.get(status, '○')} ", style),
        escape_controls(name),
        (f"  {status}", style),
    ]
    if took:
        parts.append((f"  {took}", "dim"))
    if thing.get("runner"):
        parts.append((f"  on {escape_controls(thing['runner'])}", "dim"))
    return Text.assemble(*parts)


def describe_duration(thing: Json, now: datetime | None = None) -> str:
    """Return how long a job or build has run, or an empty text if it has not started.

    The time of a build that finished without a start counts from its creation.
    """
    start = thing.get("started_at") or (thing.get("created_at") if thing["status"] in FINISHED_BUILD else None)
    if not start:
        return ""
    end = thing.get("completed_at")
    until = datetime.fromisoformat(end) if end else now or datetime.now(UTC)
    return format_duration(max(0.0, (until - datetime.fromisoformat(start)).total_seconds()))


def describe_end(build: Json) -> str:
    """Return the result of a finished build as a sentence."""
    took = describe_duration(build)
    if is_successful(build):
        return f"Build {build['id']} succeeded in {took}."
    if build["status"] == "KILLED":
        return f"Build {build['id']} was canceled."
    reason = f": {escape_controls(build['exit_message'])}" if build["exit_message"] else "."
    return f"Build {build['id']} failed with exit code {build['exit_code']}{reason}"


def describe_failure(test: Json) -> Iterator[str]:
    """Yield the name, the message and the details of a test as lines."""
    name = f"{test['class_name']}.{test['name']}" if test["class_name"] else test["name"]
    place = f" ({test['file']}{':' + str(test['line']) if test['line'] else ''})" if test["file"] else ""
    yield escape_controls(f"==> {test['status']}: {name}{place}, job {test['job_name']}")
    for text in (test["message"], test["details"]):
        yield from (clean_log_line(line, colors=False) for line in text.splitlines())


def suggest_failed_log(build: Json) -> str:
    return f"The failed jobs' log: headrace builds logs {build['id']} --failed"


def show_jobs(jobs: Sequence[Json]) -> None:
    from client.output.tables import show_rows

    rows = [{**job, "took": describe_duration(job)} for job in jobs]
    show_rows(rows, ("id", "name", "stage", "status", "took", "runner", "exit_code"), as_json=False)
