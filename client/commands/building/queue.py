"""Command `headrace queue`: the builds that have not started."""

import typer

from client.commands.options import JsonOption

app = typer.Typer()

COLUMNS = ("build_id", "project_name", "priority", "waits", "reason")


@app.command()
def queue(as_json: JsonOption = False) -> None:
    """List the waiting builds, oldest first, with the reason why each of them waits."""
    from client.output.tables import format_age, show_rows
    from client.session.connection import connect

    with connect() as client:
        rows = client.get("/developer/builds/queueds")
    table = [{**row, "waits": format_age(row["queued_at"]).removesuffix(" ago")} for row in rows]
    show_rows(rows if as_json else table, COLUMNS, as_json=as_json)
