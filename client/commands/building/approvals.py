"""Commands `headrace approvals ls|approve`: builds of forks that wait for a maintainer."""

from typing import TYPE_CHECKING, Annotated

import typer

from client.commands.options import JsonOption, ProjectArgument

if TYPE_CHECKING:
    from client.http_client import Client

HELP = "Builds of forks that wait for the approval of a maintainer: list, approve."

app = typer.Typer(no_args_is_help=True)

COLUMNS = ("id", "received", "number", "title", "source_branch", "sender", "sha")
PAGE_SIZE = 100


@app.command("ls")
def list_approvals(project: ProjectArgument, as_json: JsonOption = False) -> None:
    """List the commits of forks that wait for an approval, newest first. Needs a maintainer of the project."""
    from client.output.tables import format_age, show_rows
    from client.session.connection import connect
    from client.session.console_urls import parse_target

    target = parse_target(project, "projects")
    with connect(target.server_url) as client:
        page = client.get(_deliveries(client, target.id), per_page=PAGE_SIZE, **{"decision[eq]": "WAITING"})
    table = [{**row, **(row["pull_request"] or {}), "received": format_age(row["received_at"])} for row in page["data"]]
    show_rows(page["data"] if as_json else table, COLUMNS, as_json=as_json)


@app.command("approve")
def approve_build(
    project: ProjectArgument,
    delivery: Annotated[str, typer.Argument(help="Id in the list of `headrace approvals ls`.")],
    as_json: JsonOption = False,
) -> None:
    """Start the build of a fork's commit. Read the commit first: its author chooses what the build runs.

    The approval is for this commit only. Needs a maintainer of the project.
    """
    from client.builds.overview import quote_id
    from client.output.terminal_text import print_json
    from client.session.connection import connect
    from client.session.console_urls import parse_target

    target = parse_target(project, "projects")
    with connect(target.server_url) as client:
        approved = client.post(f"{_deliveries(client, target.id)}/{quote_id(delivery)}/approve")
    if as_json:
        print_json(approved)
    else:
        typer.echo(f"Approved: {approved['reason']}")


def _deliveries(client: "Client", project: str) -> str:
    """Return the path of the deliveries of a project, which is given by its id, name or owner/alias."""
    from client.builds.overview import find_project

    return f"/developer/projects/{find_project(client, project)['id']}/deliveries"
