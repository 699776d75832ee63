"""Commands for operators of a running system: `events`, `history`, `doctor`, `reactions`, `rebuild`, `rotate-keys`."""

from typing import Annotated

import typer

from infra import entrypoints
from infra.cli.options import DataOption, RawOption, connect_to_local_stack, set_data_folder
from infra.service_catalog import SERVICES

app = typer.Typer()
reactions = typer.Typer(no_args_is_help=True)
app.add_typer(reactions, name="reactions", help="List and retry parked events: events whose reaction failed too often.")


@app.command("events")
def events(
    start: Annotated[
        str, typer.Option("--from", help="First event to show: a time (2026-01-31T12:00:00Z), `start` or `now`.")
    ] = "now",
    raw: RawOption = False,
    data: DataOption = None,
) -> None:
    """Follow the event stream in this terminal, read from NATS.

    Example: `headrace admin events --from start`
    """
    connect_to_local_stack(data)
    from infra.event_stream import follow_events

    entrypoints.exit_with_message(lambda: follow_events(start, raw=raw))


@app.command("history")
def history(
    kind: Annotated[str, typer.Argument(help="Type of the object: user, project, build, runner, ...")],
    id: Annotated[str, typer.Argument(help="Number or UUID of the object.")],  # noqa: A002
    at: Annotated[str | None, typer.Option("--at", help="Show the state at this time, as JSON.")] = None,
    raw: RawOption = False,
    data: DataOption = None,
) -> None:
    """Show an object's history, or its state at a point in time, read over NATS.

    Example: `headrace admin history project 1`
    """
    connect_to_local_stack(data)
    from infra.history import print_history

    entrypoints.exit_with_message(lambda: print_history(kind, id, at, raw=raw))


@app.command()
def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object with healthy, looked_at and findings.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Check a deployment, and print every problem with its consequence and its remedy.

    Checks settings, key files, MongoDB, NATS, streams and subscriptions, services, gateway, mail server, runners and
    queue. Changes nothing and sends no mail. Exit status: 0 without findings, 1 with findings.

    Example: `headrace admin doctor`; in a cluster, run it with the settings of the migration job
    """
    set_data_folder(data)
    from infra.doctor.diagnosis import run_doctor

    raise typer.Exit(run_doctor(as_json=as_json))


@reactions.command(name="list")
def list_parked_events(raw: RawOption = False, data: DataOption = None) -> None:
    """List the parked events of all services, oldest first, with the last error of each.

    Example: `headrace admin reactions list`
    """
    connect_to_local_stack(data)
    from infra.parked_events import list_events

    entrypoints.exit_with_message(lambda: list_events(raw=raw))


@reactions.command(name="retry")
def retry_parked_events(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of the events. Default: all parked events.")] = None,
    data: DataOption = None,
) -> None:
    """Have the services retry parked events. Remove the cause of the failure first.

    Waits up to 30 seconds for the results. A reaction whose commands were recorded before is not executed twice. Exit
    status: 0 if all were handled, otherwise 1.

    Example: `headrace admin reactions retry builds/builds-planner/build-17@1.0`
    """
    connect_to_local_stack(data)
    from infra.parked_events import retry_events

    def retry() -> None:
        if not retry_events(ids or []):
            raise SystemExit(1)

    entrypoints.exit_with_message(retry)


@app.command()
def rebuild(
    service: Annotated[str, typer.Argument(help="Service whose views are rebuilt: " + ", ".join(SERVICES))],
    view: Annotated[str | None, typer.Argument(help="Name of one view. Default: all views of the service.")] = None,
    data: DataOption = None,
) -> None:
    """Rebuild the views of a service, or one of them, from the event log while the services run.

    A view is a projection or the rows of a category. The current rows stay in use until they are replaced.

    Example: `headrace admin rebuild builds`
    """
    connect_to_local_stack(data)
    from infra.rebuild import rebuild as rebuild_views

    entrypoints.exit_with_message(lambda: rebuild_views(service, view))


@app.command(name="rotate-keys")
def rotate_keys(data: DataOption = None) -> None:
    """Sign new tokens with a new key. Tokens signed with older keys stay valid until they expire."""
    connect_to_local_stack(data)
    from infra.key_rotation import rotate_signing_keys

    entrypoints.exit_with_message(rotate_signing_keys)
