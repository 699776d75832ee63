"""Commands `headrace builds logs`, and `headrace builds watch`, which follows a running build."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.commands.options import BuildArgument, JsonOption
from client.errors import EXIT_FAILED, UsageError

if TYPE_CHECKING:
    from client.http_client import Client

app = typer.Typer()

MAX_TAIL = 10_000  # maximum number of lines in one response of the server


@app.command("logs")
def show_logs(
    build: BuildArgument,
    jobs: Annotated[
        list[str] | None, typer.Option("--job", "-j", help="Name or id of a job; can be repeated. Default: all jobs.")
    ] = None,
    attempt: Annotated[int, typer.Option("--attempt", min=0, help="Attempt of each job. 0: the latest.")] = 0,
    failed: Annotated[bool, typer.Option("--failed", help="Only jobs that failed.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for new lines until the build ends.")] = False,
    tail: Annotated[
        int, typer.Option("--tail", min=0, max=MAX_TAIL, help="Only the last lines of each job. 0: all.")
    ] = 0,
) -> None:
    """Print the log of a build, one job after the other.

    Example: `headrace builds logs 17 --failed --tail 50`
    """
    from client.builds.overview import WITHOUT_LOG, get_overview, select_jobs
    from client.session.connection import connect
    from client.session.console_urls import parse_target

    target = parse_target(build, "builds")
    with connect(target.server_url) as client:
        if follow and (attempt or tail):
            raise UsageError("--follow cannot be combined with --attempt or --tail.")
        if follow:
            _follow_logs(client, target.id, jobs or [], failed=failed)
            return
        found = get_overview(client, target.id)
        chosen = list(select_jobs(found["jobs"], jobs or [], failed=failed))
        if jobs and not chosen and not failed:
            raise UsageError(f"Build {found['id']} has no job {', '.join(jobs)}.")
        with_log = [job for job in chosen if job["status"] not in WITHOUT_LOG and job["attempt"]]
        for job in with_log:
            _print_log(client, job, attempt, tail, header=len(found["jobs"]) > 1)
        if not with_log and found["output"]:
            typer.echo(found["output"])  # the build has no job with a log, for example because its spec file is invalid


@app.command("watch")
def watch_build(build: BuildArgument, as_json: JsonOption = False) -> None:
    """Follow a build until it has finished, with its jobs and their logs.

    With `--json`, print the finished build instead. Exit status: 0 if the build succeeded, else 1.
    """
    from client.session.connection import connect
    from client.session.console_urls import parse_target

    target = parse_target(build, "builds")
    with connect(target.server_url) as client:
        watch(client, target.id, as_json=as_json)


def watch(client: "Client", build_id: str, *, as_json: bool) -> None:
    """Follow a build until it has finished. Raises typer.Exit if it did not succeed."""
    from client.builds.build_follower import BuildChanged, BuildFollower
    from client.builds.overview import get_overview, is_successful
    from client.builds.reported_tests import describe_tests
    from client.output.build_view import BuildView, build_tree, describe_end, suggest_failed_log
    from client.output.terminal_text import escape_controls, print_json, print_note

    found: dict[str, Any] = {}
    follower = BuildFollower(client, lambda: get_overview(client, build_id))
    with BuildView() as view:
        for event in follower.follow():
            if isinstance(event, BuildChanged):
                found = event.build
            if not as_json:
                view.show(event)
    if as_json:
        print_json(found)
    else:
        _print_end(found, build_tree(found))
        print_note(describe_end(found))
        if tests := describe_tests(client, found):
            print_note(escape_controls(tests))
    if not is_successful(found):
        if not as_json:
            print_note(found["output"] if found["output"] and not found["jobs"] else suggest_failed_log(found))
        raise typer.Exit(EXIT_FAILED)


def _print_end(build: dict[str, Any], tree: Any) -> None:
    from rich.console import Console

    console = Console(highlight=False, stderr=True)
    if console.is_terminal and len(build["jobs"]) > 1:
        console.print(tree)


def _follow_logs(client: "Client", build_id: str, names: list[str], *, failed: bool) -> None:
    from client.builds.build_follower import BuildChanged, BuildFollower
    from client.builds.overview import get_overview
    from client.output.build_view import print_lines
    from client.output.terminal_text import clean_log_line, uses_colors

    colors, several = uses_colors(), False
    for event in BuildFollower(client, lambda: get_overview(client, build_id), names=names, failed=failed).follow():
        match event:
            case BuildChanged(build):
                several = len(build["jobs"]) > 1
            case _ if hasattr(event, "lines"):
                print_lines(clean_log_line(line, colors=colors) for line in event.lines)
            case _ if several:
                print_lines([_header(event.job)])


def _print_log(client: "Client", job: dict[str, Any], attempt: int, tail: int, *, header: bool) -> None:
    from client.builds.job_log import JobLog
    from client.output.build_view import print_lines
    from client.output.terminal_text import clean_log_line, uses_colors

    log = JobLog(client, job["id"], attempt)
    if header:
        print_lines([_header(job)])
    colors = uses_colors()
    for lines in [log.read_last(tail)] if tail else log.read_new():
        print_lines(clean_log_line(line, colors=colors) for line in lines)


def _header(job: dict[str, Any]) -> str:
    from client.output.terminal_text import escape_controls

    return f"==> {escape_controls(job['name'])} (job {job['id']}, {job['status']})"
