"""Commands `headrace webhooks ls|show`: the deliveries that forges sent."""

from typing import Annotated

import typer

from client.commands.options import JsonOption, ProjectArgument

HELP = "Deliveries of webhooks: list, show. Needs an administrator."

app = typer.Typer(no_args_is_help=True)

COLUMNS = ("id", "received", "provider", "event", "ref", "sender", "decision", "reason")
DETAILS = (
    "id", "project_id", "received_at", "provider", "event", "forge_id", "sender", "user_id", "ref", "sha", "decision",
    "code", "reason", "executor_id", "body_size",
)  # fmt: skip
MAX_PAGE_SIZE = 100


@app.command("ls")
def list_deliveries(
    project: ProjectArgument,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MAX_PAGE_SIZE, help="Number of deliveries.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the latest webhook deliveries for a project, with the decision about each."""
    from client.builds.overview import find_project
    from client.output.tables import format_age, show_rows
    from client.session.connection import connect
    from client.session.console_urls import parse_target

    target = parse_target(project, "projects")
    with connect(target.server_url) as client:
        found = find_project(client, target.id)
        page = client.get(f"/admin/projects/{found['id']}/deliveries", per_page=limit)
    table = [{**row, "received": format_age(row["received_at"])} for row in page["data"]]
    show_rows(page["data"] if as_json else table, COLUMNS, as_json=as_json)


@app.command("show")
def show_delivery(
    delivery: Annotated[str, typer.Argument(help="Id of the delivery.")], as_json: JsonOption = False
) -> None:
    """Show a webhook delivery, with the decision about it."""
    from client.builds.overview import quote_id
    from client.output.tables import show_fields
    from client.session.connection import connect

    with connect() as client:
        show_fields(client.get(f"/admin/deliveries/{quote_id(delivery)}"), DETAILS, as_json=as_json)
