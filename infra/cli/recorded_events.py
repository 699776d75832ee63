"""Commands `events` and `history`: over HTTP for signed-in users, else over NATS, as in the group `admin`."""

import os
from typing import Annotated

import typer

from infra.cli import operations
from infra.cli.options import DataOption, RawOption

app = typer.Typer()

ACTIVITY_LIMIT = 100
NAMES = ("events", "history")


@app.command("events")
def events(
    start: Annotated[
        str, typer.Option("--from", help="First event to show: a time (2026-01-31T12:00:00Z), `start` or `now`.")
    ] = "now",
    raw: RawOption = False,
    data: DataOption = None,
) -> None:
    """Follow the events of builds and runners that you may see or, without a sign-in, all events of a local stack.

    With **--data** or **HEADRACE_NATS_URL**, the events of all services are read from NATS, as by
    `headrace admin events`.

    Example: `headrace events --from start`
    """
    if _uses_http(data):
        from client.recorded.event_output import follow_events

        follow_events(start, as_json=raw)
    else:
        operations.events(start, raw, data)


@app.command("history")
def history(
    kind: Annotated[str, typer.Argument(help="Type of the object: user, project, build, runner, ...")] = "",
    id: Annotated[str, typer.Argument(help="Number or UUID of the object.")] = "",  # noqa: A002
    at: Annotated[str | None, typer.Option("--at", help="Show the state at this time, as JSON.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="Maximum number of entries of all objects.")
    ] = ACTIVITY_LIMIT,
    raw: RawOption = False,
    data: DataOption = None,
) -> None:
    """Show an object's history, or its state at a point in time. Needs an administrator, or a local stack.

    Without a number, show the changes of all objects, or of all objects of a type, newest first. Needs a sign-in.

    With **--data** or **HEADRACE_NATS_URL**, it is read over NATS, as by `headrace admin history`.

    Example: `headrace history project 1`
    """
    if _uses_http(data):
        from client.recorded.history_output import show_activity, show_history

        if id:
            show_history(kind, id, at, as_json=raw)
        elif at is not None:
            raise typer.BadParameter("--at needs the type and number of an object.")
        else:
            show_activity(kind, limit, as_json=raw)
    elif not id:
        raise typer.BadParameter("Give the type and number of an object, or sign in with `headrace login`.")
    else:
        operations.history(kind, id, at, raw, data)


def _uses_http(data: object) -> bool:
    from client.session.connection import is_signed_in

    return data is None and not os.environ.get("HEADRACE_NATS_URL") and is_signed_in()
