"""Commands `headrace builds ls|show|launch|cancel|retry|priority`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.commands.building import build_logs, build_tests
from client.commands.completion import complete_projects
from client.commands.options import BuildArgument, JsonOption, ProjectArgument, parse_variable
from client.errors import ApiError, ClientError

if TYPE_CHECKING:
    from client.http_client import Client

app = typer.Typer(no_args_is_help=True)
app.add_typer(build_logs.app)
app.add_typer(build_tests.app)

COLUMNS = ("id", "project", "status", "ref", "commit", "message", "by", "created", "exit_message")
DETAILS = (
    "id", "project", "status", "waiting_for", "ref", "sha", "message", "source", "schedule", "priority",
    "ignored_steps", "variables", "warnings", "created_at", "started_at", "completed_at", "exit_code", "exit_message",
    "output", "coverage",
)  # fmt: skip
DEFAULT_LIMIT = 30
UNKNOWN_EXECUTOR = "EXECUTOR_NOT_FOUND"


@app.command("ls")
def list_builds(
    project: Annotated[
        str,
        typer.Option("--project", "-p", help="Only builds of this project.", autocompletion=complete_projects),
    ] = "",
    status: Annotated[str, typer.Option("--status", help="Only builds with this status, like FAILED.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Number of builds to list.")] = DEFAULT_LIMIT,
    as_json: JsonOption = False,
) -> None:
    """List the builds that you may see, newest first."""
    from itertools import islice

    from client.builds.overview import iterate_builds
    from client.output.tables import format_age, show_rows
    from client.session.connection import connect

    with connect() as client:
        rows = list(islice(iterate_builds(client, project, status.upper()), limit))
    table = [
        {
            **row,
            "commit": (row["sha"] or "")[:8],
            "created": format_age(row["created_at"]),
            "by": row["initiator"]["name"],
        }
        for row in rows
    ]
    show_rows(rows if as_json else table, COLUMNS, as_json=as_json)


@app.command("show")
def show_build(build: BuildArgument, as_json: JsonOption = False) -> None:
    """Show a build and its jobs."""
    from client.builds.overview import get_overview
    from client.builds.reported_tests import describe_tests
    from client.output.build_view import show_jobs
    from client.output.tables import format_cell, show_fields
    from client.session.connection import connect
    from client.session.console_urls import parse_target

    target = parse_target(build, "builds")
    with connect(target.server_url) as client:
        found = get_overview(client, target.id)
        tests = "" if as_json else describe_tests(client, found)
    variables = [f"{variable['name']}={variable['value']}" for variable in found.get("variables", [])]
    schedule = _describe_schedule(found.get("schedule"))
    show_fields(found if as_json else {**found, "variables": variables, "schedule": schedule}, DETAILS, as_json=as_json)
    if not as_json and found["jobs"]:
        typer.echo()
        show_jobs(found["jobs"])
    if tests:
        typer.echo(f"\n{format_cell(tests)}")


@app.command("launch")
def launch_build(
    project: ProjectArgument,
    ref: Annotated[str, typer.Option("--ref", help="Branch to build. Default: the project's branch.")] = "",
    skip: Annotated[
        list[str] | None, typer.Option("--skip", help="Step to skip, like `@deploy`; can be repeated.")
    ] = None,
    variables: Annotated[
        list[str] | None,
        typer.Option(
            "--variable",
            "-v",
            help="NAME=VALUE, for all jobs; can be repeated. Not for secrets: everybody who sees the build sees it.",
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the build until it has finished.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Launch a build.

    Exit status with `--watch`: 0 if the build succeeded, else 1. Without `--watch`: 0 if it was queued.

    Example: `headrace builds launch shop --ref main --variable TARGET=staging --watch`
    """
    from client.builds.overview import find_project
    from client.output.tables import show_fields
    from client.session.connection import connect
    from client.session.console_urls import parse_target

    target = parse_target(project, "projects")
    given = [parse_variable(text) for text in variables or []]
    with connect(target.server_url) as client:
        found = find_project(client, target.id)
        fields: dict[str, Any] = {"ignore_steps": skip or []}
        if ref:
            _require_field(client, "ref", "--ref")
            fields["ref"] = ref
        if given:
            _require_field(client, "variables", "--variable")
            fields["variables"] = given
        launched = client.post(f"/developer/builds/{found['id']}", {"build": fields})
        if not watch:
            row = {"id": launched["build_id"], "project": launched["project_name"], **launched}
            if as_json:
                show_fields(row, ("id",), as_json=True)
            else:
                typer.echo(f"Build {row['id']} of {row['project']} is queued: headrace builds watch {row['id']}")
            return
        build_logs.watch(client, str(launched["build_id"]), as_json=as_json)


def _describe_schedule(schedule: dict[str, Any] | None) -> str:
    return f"{schedule['id']} {schedule['description']}".rstrip() if schedule else ""


def _require_field(client: "Client", field: str, option: str) -> None:
    """Check that the server supports the field of a launch, which it would ignore otherwise. Raises ClientError."""
    known = client.get("/openapi.json")["components"]["schemas"]["BuildFields"]["properties"]
    if field not in known:
        raise ClientError(f"This server does not support {option}. Upgrade it first.")


@app.command("cancel")
def cancel_build(build: BuildArgument) -> None:
    """Cancel a waiting or running build."""
    from client.builds.overview import quote_id
    from client.session.connection import connect
    from client.session.console_urls import parse_target

    target = parse_target(build, "builds")
    with connect(target.server_url) as client:
        found = client.get(f"/developer/builds/{quote_id(target.id)}")
        if not _cancel(client, found["executor_id"]):
            raise ApiError(409, "BUILD_STATUS", f"Build {found['id']} has finished: {found['status']}.")
    typer.echo(f"Build {found['id']} is canceled.")


def _cancel(client: "Client", executor_id: str) -> bool:
    """Cancel the build. Return False if it has finished.

    Waiting and running builds have different routes. Both are tried, because the build can start in between.
    """
    for state in ("executed", "queued", "executed"):
        try:
            client.delete(f"/developer/builds/kill/{state}/{executor_id}")
        except ApiError as error:
            if error.code != UNKNOWN_EXECUTOR:
                raise
        else:
            return True
    return False


@app.command("retry")
def retry_build(
    build: BuildArgument,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the build until it has finished.")] = False,
) -> None:
    """Run the failed and canceled jobs of a build again. Skipped jobs then wait for their upstream jobs again."""
    from client.builds.overview import quote_id
    from client.session.connection import connect
    from client.session.console_urls import parse_target

    target = parse_target(build, "builds")
    with connect(target.server_url) as client:
        client.post(f"/developer/builds/{quote_id(target.id)}/retry")
        typer.echo(f"Build {target.id} runs again.")
        if watch:
            build_logs.watch(client, target.id, as_json=False)


@app.command("priority", context_settings={"ignore_unknown_options": True})
def set_priority(
    build: BuildArgument,
    priority: Annotated[int, typer.Argument(min=-100, max=100, help="-100 to 100; the default of builds is 0.")],
) -> None:
    """Set the priority of an unfinished build. Jobs of higher priority start first. Needs an administrator."""
    from client.builds.overview import quote_id
    from client.session.connection import connect
    from client.session.console_urls import parse_target

    target = parse_target(build, "builds")
    with connect(target.server_url) as client:
        client.patch(f"/admin/builds/{quote_id(target.id)}/priority", {"build": {"priority": priority}})
    typer.echo(f"Build {target.id} has the priority {priority}.")
