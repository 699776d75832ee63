"""Commands `headrace schedules ...`: builds of a project at the times of a cron expression."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.commands.options import JsonOption, ProjectArgument, YesOption, confirm, parse_variable
from client.errors import UsageError

if TYPE_CHECKING:
    from client.http_client import Client

HELP = "Schedules of a project: builds at the times of a cron expression."

app = typer.Typer(no_args_is_help=True)

COLUMNS = ("id", "cron", "zone", "branch", "description", "next_run", "last_run", "last_result")
DETAILS = (
    "id", "cron", "zone", "branch", "variables", "description", "active", "owner_name", "next_run_at", "last_run_at",
    "last_build_id", "last_error", "last_error_detail",
)  # fmt: skip

ScheduleArgument = Annotated[int, typer.Argument(min=1, help="Number of the schedule.")]
CronOption = Annotated[str | None, typer.Option("--cron", help="Cron expression, or a macro like `@daily`.")]
ZoneOption = Annotated[
    str | None, typer.Option("--zone", help="Time zone of the expression, like `Europe/Berlin`. Default: UTC.")
]
BranchOption = Annotated[str | None, typer.Option("--branch", help="Branch to build. Default: the project's branch.")]
DescriptionOption = Annotated[str | None, typer.Option("--description", help="Shown with the schedule's builds.")]
VariablesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--variable",
        "-v",
        help="NAME=VALUE, for all jobs; can be repeated. Not for secrets: everybody who sees the project sees it.",
    ),
]


@app.command("ls")
def list_schedules(project: ProjectArgument, as_json: JsonOption = False) -> None:
    """List the schedules of a project, with their next and latest runs."""
    from client.output.tables import format_age, show_rows

    with _open(project) as (client, path):
        rows = client.get(path)
    table = [
        {
            **row,
            "next_run": row["next_run_at"] or ("" if row["active"] else "paused"),
            "last_run": format_age(row["last_run_at"]),
            "last_result": row["last_error"] or (f"build {row['last_build_id']}" if row["last_build_id"] else ""),
        }
        for row in rows
    ]
    show_rows(rows if as_json else table, COLUMNS, as_json=as_json)


@app.command("create")
def create_schedule(
    project: ProjectArgument,
    cron: Annotated[str, typer.Argument(help="Cron expression in quotes, or a macro like `@daily`.")],
    zone: ZoneOption = None,
    branch: BranchOption = None,
    variables: VariablesOption = None,
    description: DescriptionOption = None,
    paused: Annotated[bool, typer.Option("--paused", help="Do not launch builds yet.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Create a schedule. Needs a maintainer of the project.

    Example: `headrace schedules create shop '30 2 * * 1-5' --zone Europe/Berlin --variable SUITE=all`
    """
    fields: dict[str, Any] = {
        "cron": cron,
        "zone": zone,
        "branch": branch,
        "variables": [parse_variable(text) for text in variables or []],
        "description": description,
        "active": not paused,
    }
    with _open(project) as (client, path):
        row = client.post(path, {"schedule": fields})
    _show(row, as_json=as_json)


@app.command("edit")
def change_schedule(
    project: ProjectArgument,
    schedule: ScheduleArgument,
    cron: CronOption = None,
    zone: ZoneOption = None,
    branch: BranchOption = None,
    variables: VariablesOption = None,
    no_variables: Annotated[bool, typer.Option("--no-variables", help="Remove all variables.")] = False,
    description: DescriptionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change the given settings of a schedule, which makes you its owner. Needs a maintainer of the project.

    All variables are replaced together.
    """
    given = {"cron": cron, "zone": zone, "branch": branch, "description": description}
    fields: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if variables or no_variables:
        fields["variables"] = [parse_variable(text) for text in variables or []]
    if not fields:
        raise UsageError("Nothing to change: give an option.")
    _change(project, schedule, fields, as_json=as_json)


@app.command("pause")
def pause_schedule(project: ProjectArgument, schedule: ScheduleArgument, as_json: JsonOption = False) -> None:
    """Pause a schedule. Needs a maintainer of the project."""
    _change(project, schedule, {"active": False}, as_json=as_json)


@app.command("resume")
def resume_schedule(project: ProjectArgument, schedule: ScheduleArgument, as_json: JsonOption = False) -> None:
    """Resume a paused schedule at its next time. Needs a maintainer of the project."""
    _change(project, schedule, {"active": True}, as_json=as_json)


@app.command("run")
def run_schedule(project: ProjectArgument, schedule: ScheduleArgument, as_json: JsonOption = False) -> None:
    """Launch a build of a schedule now, also of a paused one. Needs a maintainer of the project.

    The next due time does not change.
    """
    with _open(project) as (client, path):
        row = client.post(f"{path}/{schedule}/run")
    if as_json:
        _show(row, as_json=True)
    else:
        typer.echo(f"Build {row['last_build_id']} is queued: headrace builds watch {row['last_build_id']}")


@app.command("rm")
def delete_schedule(project: ProjectArgument, schedule: ScheduleArgument, yes: YesOption = False) -> None:
    """Delete a schedule. Its builds stay. Needs a maintainer of the project."""
    with _open(project) as (client, path):
        confirm(f"Delete the schedule {schedule}?", yes=yes)
        client.delete(f"{path}/{schedule}")
    typer.echo(f"Schedule {schedule} deleted.")


@contextmanager
def _open(project: str) -> Iterator["tuple[Client, str]"]:
    """Connect to the server of a project. Yield the client and the path of the project's schedules."""
    from client.builds.overview import find_project
    from client.session.connection import connect
    from client.session.console_urls import parse_target

    target = parse_target(project, "projects")
    with connect(target.server_url) as client:
        yield client, f"/developer/projects/{find_project(client, target.id)['id']}/schedules"


def _change(project: str, schedule: int, fields: dict[str, Any], *, as_json: bool) -> None:
    with _open(project) as (client, path):
        row = client.patch(f"{path}/{schedule}", {"schedule": fields})
    _show(row, as_json=as_json)


def _show(row: dict[str, Any], *, as_json: bool) -> None:
    from client.output.tables import show_fields

    variables = [f"{variable['name']}={variable['value']}" for variable in row["variables"]]
    show_fields(row if as_json else {**row, "variables": variables}, DETAILS, as_json=as_json)
