"""Commands `headrace notifications ...`: receivers of a project, requests to them, and mails to the user."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.commands.options import JsonOption, ProjectArgument, YesOption, confirm
from client.errors import UsageError

if TYPE_CHECKING:
    from client.http_client import Client

HELP = "Notifications of a project: webhooks, chat messages and mails about its builds."
MAX_REQUESTS = 200

app = typer.Typer(no_args_is_help=True)

COLUMNS = ("id", "kind", "server", "events", "active", "last", "response", "reason")
DETAILS = ("id", "kind", "server", "events", "active", "created_at")
REQUEST_COLUMNS = ("id", "kind", "receiver_id", "build_id", "state", "status", "response_code", "reason", "requested")

ReceiverArgument = Annotated[int, typer.Argument(min=1, help="Number of the receiver.")]
EventsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--event",
        "-e",
        help="started, finished, failed or fixed (success after a failure of the branch); can be repeated. "
        "Default: failed and fixed.",
    ),
]


@app.command("ls")
def list_receivers(project: ProjectArgument, as_json: JsonOption = False) -> None:
    """List the receivers of a project, each with the latest request to it. Needs a maintainer."""
    from client.output.tables import format_age, show_rows

    with _open(project) as (client, path):
        rows = client.get(f"{path}/receivers")
    table = []
    for row in rows:
        last = row["last_delivery"] or dict.fromkeys(("status", "response_code", "reason", "requested_at"), "")
        age = format_age(last["requested_at"]) if last["requested_at"] else ""
        table.append(
            {
                **row,
                "last": f"{last['status']} {age}".strip(),
                "response": last["response_code"],
                "reason": last["reason"],
            }
        )
    show_rows(rows if as_json else table, COLUMNS, as_json=as_json)


@app.command("create")
def create_receiver(
    project: ProjectArgument,
    url: Annotated[str, typer.Argument(help="URL that gets the requests; `-`: read it from the standard input.")],
    chat: Annotated[bool, typer.Option("--chat", help="Send messages to Slack or Mattermost.")] = False,
    events: EventsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a receiver of webhooks or chat messages. Needs a maintainer of the project.

    The secret that signs webhooks is read from the standard input: 16 characters or more.

    Example: `openssl rand -hex 32 | tee secret | headrace notifications create shop https://hooks.example.org/builds`
    """
    fields: dict[str, Any] = {"kind": "slack" if chat else "webhook", "events": events}
    if url == "-":
        if not chat:
            raise UsageError("The URL of a webhook is an argument: the standard input has its secret.")
        fields["url"] = _read_line("URL")
    else:
        fields["url"] = url
    if not chat:
        fields["secret"] = _read_line("secret")
    with _open(project) as (client, path):
        row = client.post(f"{path}/receivers", {"receiver": fields})
    _show(row, as_json=as_json)


@app.command("edit")
def change_receiver(
    project: ProjectArgument,
    receiver: ReceiverArgument,
    url: Annotated[str | None, typer.Option("--url", help="New URL.")] = None,
    new_secret: Annotated[bool, typer.Option("--secret", help="Read a new secret from the standard input.")] = False,
    events: EventsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change the given settings of a receiver. Needs a maintainer of the project."""
    fields: dict[str, Any] = {name: value for name, value in (("url", url), ("events", events)) if value}
    if new_secret:
        fields["secret"] = _read_line("secret")
    if not fields:
        raise UsageError("Nothing to change: give an option.")
    _change(project, receiver, fields, as_json=as_json)


@app.command("pause")
def pause_receiver(project: ProjectArgument, receiver: ReceiverArgument, as_json: JsonOption = False) -> None:
    """Send nothing to a receiver. Needs a maintainer of the project."""
    _change(project, receiver, {"active": False}, as_json=as_json)


@app.command("resume")
def resume_receiver(project: ProjectArgument, receiver: ReceiverArgument, as_json: JsonOption = False) -> None:
    """Send notifications to a paused receiver again. Needs a maintainer of the project."""
    _change(project, receiver, {"active": True}, as_json=as_json)


@app.command("rm")
def delete_receiver(project: ProjectArgument, receiver: ReceiverArgument, yes: YesOption = False) -> None:
    """Delete a receiver. Needs a maintainer of the project."""
    with _open(project) as (client, path):
        confirm(f"Delete the receiver {receiver}?", yes=yes)
        client.delete(f"{path}/receivers/{receiver}")
    typer.echo(f"Receiver {receiver} deleted.")


@app.command("deliveries")
def list_deliveries(
    project: ProjectArgument,
    receiver: Annotated[int | None, typer.Option("--receiver", min=1, help="Number of a receiver.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MAX_REQUESTS, help="Number of requests.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the latest requests to the receivers and the forge of a project, with their results.

    Needs a maintainer of the project.
    """
    from client.output.tables import format_age, show_rows

    query = {"limit": limit, **({"receiver": receiver} if receiver else {})}
    with _open(project) as (client, path):
        rows = client.get(f"{path}/outgoing-requests", **query)["outgoing_requests"]
    table = [{**row, "requested": format_age(row["requested_at"])} for row in rows]
    show_rows(rows if as_json else table, REQUEST_COLUMNS, as_json=as_json)


@app.command("resend")
def repeat_delivery(
    project: ProjectArgument,
    request: Annotated[str, typer.Argument(help="UUID of the request, from `notifications deliveries`.")],
    as_json: JsonOption = False,
) -> None:
    """Send a request again, as a new one. Needs a maintainer of the project."""
    from client.output.tables import show_fields

    with _open(project) as (client, path):
        row = client.post(f"{path}/outgoing-requests/{request}/repeat")
    show_fields(row, ("id", "kind", "receiver_id", "build_id", "status", "repeats"), as_json=as_json)


@app.command("mails")
def change_mail_rule(
    project: ProjectArgument,
    events: Annotated[
        str | None,
        typer.Option("--about", help="failed, fixed (also the first success after a failure), always or never."),
    ] = None,
    builds: Annotated[str | None, typer.Option("--builds", help="own: builds that you launched; or all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show or change the builds of a project about which you get mails. Default: your own failed ones.

    Example: `headrace notifications mails shop --about fixed --builds all`
    """
    from client.output.tables import show_fields

    fields = {name: value for name, value in (("events", events), ("builds", builds)) if value}
    with _open(project) as (client, path):
        own = f"{path.replace('/developer/', '/user/')}/mail-rule"
        row = client.patch(own, {"mail_rule": fields}) if fields else client.get(own)
    show_fields(row, ("project_id", "events", "builds"), as_json=as_json)


@contextmanager
def _open(project: str) -> Iterator["tuple[Client, str]"]:
    """Connect to the server of a project. Yield the client and the path of the project."""
    from client.builds.overview import find_project
    from client.session.connection import connect
    from client.session.console_urls import parse_target

    target = parse_target(project, "projects")
    with connect(target.server_url) as client:
        yield client, f"/developer/projects/{find_project(client, target.id)['id']}"


def _change(project: str, receiver: int, fields: dict[str, Any], *, as_json: bool) -> None:
    with _open(project) as (client, path):
        row = client.patch(f"{path}/receivers/{receiver}", {"receiver": fields})
    _show(row, as_json=as_json)


def _show(row: dict[str, Any], *, as_json: bool) -> None:
    from client.output.tables import show_fields

    show_fields(row, DETAILS, as_json=as_json)


def _read_line(what: str) -> str:
    """Return the standard input without line feeds at its end, at most 64 KiB. In a terminal, prompt for `what`."""
    if sys.stdin.isatty():
        return str(typer.prompt(f"{what.capitalize()} of the receiver", hide_input=True))
    text = sys.stdin.read(65_536).rstrip("\n")
    if not text:
        raise UsageError(f"The standard input is empty. It must have the {what} of the receiver.")
    return text
