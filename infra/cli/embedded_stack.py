"""Commands for the embedded stack: `up`, `down`, `status`, `demo`."""

import json
import os
import sys
from typing import Annotated, Any

import typer

from infra import entrypoints
from infra.cli.options import DataOption, set_data_folder

EXIT_NOT_RUNNING = 3

app = typer.Typer()


@app.command()
def up(
    data: DataOption = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return as soon as the stack is ready.")] = False,
    nodes: Annotated[
        int | None,
        typer.Option(help="MongoDB members and NATS servers, 1, 3 or 5. Fixed at the first start. [default: 1]"),
    ] = None,
) -> None:
    """Start the whole stack on this machine: MongoDB, NATS, the services, the gateway and one agent.

    Needs neither Docker nor root. Prints the URL and, at the first start, the administrator's password.
    Runs in the foreground until Ctrl-C; stop a detached stack with `headrace server down`.

    With `--nodes 3`, data and events have three copies, and the stack survives the loss of a server. All copies are on
    this machine: it is for trying out what happens then, and takes about 220 MB more memory when idle.

    - **HEADRACE_HOST**, **HEADRACE_PORT**: address and port of the gateway. Default: 127.0.0.1 and 8080
    - **HEADRACE_REPLICAS**: replicas of each service and of the gateway. Default: 1
    - **HEADRACE_NODES**: the same as `--nodes`
    - **HEADRACE_ADMIN_USERNAME**, **HEADRACE_ADMIN_PASSWORD**: the first administrator. Default: admin, generated
    - **HEADRACE_MONGODB_URL**, **HEADRACE_NATS_URL**: servers to use instead of the embedded ones
    - **HEADRACE_MAIL_HOST**, **_PORT**, **_FROM**, **_USERNAME**, **_PASSWORD**, **_TLS**: the mail server

    Example: `HEADRACE_PORT=9000 headrace server up --detach`
    """
    set_data_folder(data)
    if nodes is not None:
        os.environ["HEADRACE_NODES"] = str(nodes)
    if detach:
        from infra.local.stack_commands import start_detached

        entrypoints.exit_with_message(lambda: sys.exit(start_detached()))
    # exec replaces this process, to free the memory of the modules that the command line has imported
    os.execv(sys.executable, [sys.executable, "-m", "infra", "supervise"])  # noqa: S606


@app.command()
def down(data: DataOption = None) -> None:
    """Stop the stack that `headrace server up` started, and wait until it has ended. Does nothing if no stack runs."""
    set_data_folder(data)
    from infra.local import stack_commands

    entrypoints.exit_with_message(lambda: typer.echo(stack_commands.stop_stack()))


@app.command()
def status(
    data: DataOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON array with name, pid, ready and address of each process.")
    ] = False,
) -> None:
    """Show the processes of the stack and whether each is ready.

    Exit status: 0 if all are ready, 1 if some are not, 3 if no stack runs.
    """
    set_data_folder(data)
    from infra.local import stack_commands

    folder = stack_commands.get_data_folder()
    rows = stack_commands.list_processes(folder)
    if as_json:
        typer.echo(json.dumps(rows or [], indent=2))
    elif rows:
        _print_table(rows)
    if rows is None:
        typer.echo(f"Headrace is not running on {folder.path}; start it with `headrace server up`.", err=True)
        raise typer.Exit(EXIT_NOT_RUNNING)
    raise typer.Exit(0 if rows and all(row["ready"] for row in rows) else 1)


@app.command()
def demo(data: DataOption = None) -> None:
    """Start a stack, build a sample repository, and show its log and events.

    With **HEADRACE_URL** and **HEADRACE_ADMIN_PASSWORD**, the build runs on the system at that URL, which fetches the
    sample repository from this process.

    **REPO**, **BRANCH** and **SPEC** select your own repository; **KEEP=1** leaves the stack running.

    Example: `REPO=/home/me/project BRANCH=main headrace server demo`
    """
    set_data_folder(data)
    from infra.demo.walkthrough import run_demo

    entrypoints.exit_with_message(run_demo)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("process", "pid", "ready", "address")
    for row in rows:
        ready = "[green]yes[/]" if row["ready"] else "[red]no[/]"
        table.add_row(row["name"], str(row["pid"] or "restarting"), ready, row["address"])
    Console().print(table)
