"""Commands `headrace jobs ...`: list, play, retry and cancel single jobs of a build."""

from typing import Annotated

import typer

from client.commands.options import BuildArgument, JsonOption

HELP = "Jobs of builds: list, start manual jobs, retry, cancel."

app = typer.Typer(no_args_is_help=True)

JobArgument = Annotated[str, typer.Argument(help="Number of the job, from `headrace jobs ls`.")]


@app.command("ls")
def list_jobs(build: BuildArgument, as_json: JsonOption = False) -> None:
    """List the jobs of a build by stage."""
    from client.builds.overview import get_jobs
    from client.output.build_view import show_jobs
    from client.output.terminal_text import print_json
    from client.session.connection import connect
    from client.session.console_urls import parse_target

    target = parse_target(build, "builds")
    with connect(target.server_url) as client:
        jobs = get_jobs(client, target.id)
    if as_json:
        print_json(jobs)
    else:
        show_jobs(jobs)


@app.command("play")
def play_job(job: JobArgument) -> None:
    """Start a manual job."""
    _act(job, "play", "Job {} is queued.")


@app.command("retry")
def retry_job(job: JobArgument) -> None:
    """Run a finished job again. Skipped jobs of the build then wait for their upstream jobs again."""
    _act(job, "retry", "Job {} runs again.")


@app.command("cancel")
def cancel_job(job: JobArgument) -> None:
    """Cancel a running, queued or waiting job. For the jobs that wait for it, it counts as failed."""
    _act(job, "cancel", "Job {} is canceled.")


def _act(job: str, action: str, message: str) -> None:
    from client.builds.overview import quote_id
    from client.session.connection import connect

    with connect() as client:
        client.post(f"/developer/jobs/{quote_id(job)}/{action}")
    typer.echo(message.format(job))
