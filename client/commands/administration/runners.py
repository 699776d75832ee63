"""Commands `headrace runners ...`: the runners, and the token that registers new ones."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.commands.options import JsonOption, YesOption, confirm
from client.errors import ApiError, UsageError

if TYPE_CHECKING:
    from client.http_client import Client

HELP = "Runners of the server: list, pause, change, delete. Needs an administrator."

app = typer.Typer(no_args_is_help=True)

PATH = "/admin/runners"
PAGE_SIZE = 50
COLUMNS = ("id", "name", "active", "tags", "runUntagged", "protected", "ownerType", "platform", "connectedAt")
DETAILS = (*COLUMNS, "description", "architecture", "ipAddress", "ownerId", "locked", "maxTimeoutInSec")
RunnerArgument = Annotated[str, typer.Argument(help="Name of the runner, or its UUID or the beginning of it.")]


@app.command("ls")
def list_runners(as_json: JsonOption = False) -> None:
    """List the runners, the latest contact first."""
    from client.output.tables import show_rows
    from client.session.connection import connect

    with connect() as client:
        show_rows(list(_iterate_runners(client)), COLUMNS, as_json=as_json)


@app.command("show")
def show_runner(runner: RunnerArgument, as_json: JsonOption = False) -> None:
    """Show the settings and the last contact of a runner."""
    from client.output.tables import show_fields
    from client.session.connection import connect

    with connect() as client:
        show_fields(_find_runner(client, runner), DETAILS, as_json=as_json)


@app.command("pause")
def pause_runner(runner: RunnerArgument) -> None:
    """Stop giving new jobs to a runner. Running jobs continue."""
    _edit(runner, isActive=False)
    typer.echo(f"Runner {runner} is paused.")


@app.command("resume")
def resume_runner(runner: RunnerArgument) -> None:
    """Resume a paused runner: it gets jobs again."""
    _edit(runner, isActive=True)
    typer.echo(f"Runner {runner} gets jobs again.")


@app.command("edit")
def edit_runner(
    runner: RunnerArgument,
    name: Annotated[str | None, typer.Option("--name", help="Name.")] = None,
    description: Annotated[str | None, typer.Option("--description", help="Description.")] = None,
    tags: Annotated[str | None, typer.Option("--tags", help="Tags, separated by commas; replaces all tags.")] = None,
    run_untagged: Annotated[
        bool | None, typer.Option("--run-untagged/--no-run-untagged", help="Run jobs without tags.", show_default=False)
    ] = None,
    protected: Annotated[
        bool | None,
        typer.Option("--protected/--not-protected", help="Run only jobs of protected branches.", show_default=False),
    ] = None,
    maximum_timeout: Annotated[
        int | None, typer.Option("--maximum-timeout", min=0, help="Maximum seconds of a job; 0: no limit.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Change the settings of a runner."""
    from client.output.tables import show_fields

    changes = {
        "name": name,
        "description": description,
        "tags": None if tags is None else [tag for tag in tags.split(",") if tag],
        "runUntagged": run_untagged,
        "isProtected": protected,
        "maxTimeoutInSec": maximum_timeout,
    }
    given = {field: value for field, value in changes.items() if value is not None}
    if not given:
        raise UsageError("Nothing to change: see `headrace runners edit --help`.")
    show_fields(_edit(runner, **given), DETAILS, as_json=as_json)


@app.command("rm")
def delete_runner(runner: RunnerArgument, yes: YesOption = False) -> None:
    """Delete a runner. Its token becomes invalid."""
    from client.session.connection import connect

    with connect() as client:
        row = _find_runner(client, runner)
        confirm(f"Delete the runner {row['name']}?", yes=yes)
        client.delete(f"{PATH}/{row['id']}")
    typer.echo(f"Runner {row['name']} deleted.")


@app.command("token")
def show_registration_token(
    reset: Annotated[
        bool, typer.Option("--reset", help="Replace the token first. Registered runners keep working.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the token that registers a machine as a runner, with `headrace agent register`."""
    from client.output.terminal_text import print_json
    from client.session.connection import connect

    with connect() as client:
        if reset:
            client.post(f"{PATH}/reset-registration-token")
        row = client.get(f"{PATH}/registration-info")
    if as_json:
        print_json(row)
    else:
        typer.echo(row["registrationToken"])


def _iterate_runners(client: "Client") -> Iterator[dict[str, Any]]:
    page = 0
    while True:
        answer = client.get(PATH, page=page, size=PAGE_SIZE)
        yield from next(iter(answer["_embedded"].values()))
        page += 1
        if page >= answer["page"]["totalPages"]:
            return


def _find_runner(client: "Client", name: str) -> dict[str, Any]:
    runners = list(_iterate_runners(client))
    found = [row for row in runners if name in (row["name"], row["id"])]
    found = found or [row for row in runners if row["id"].startswith(name)]
    if not found:
        raise ApiError(404, "RUNNER_NOT_FOUND", f"There is no runner {name}.")
    if len(found) > 1:
        raise UsageError(f"Several runners match {name}; use an id: {', '.join(row['id'] for row in found)}.")
    return found[0]


def _edit(name: str, **fields: Any) -> dict[str, Any]:
    from client.session.connection import connect

    with connect() as client:
        row = _find_runner(client, name)
        changed: dict[str, Any] = client.post(f"{PATH}/{row['id']}/edit", fields)
        return changed
