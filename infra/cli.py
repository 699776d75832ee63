"""The command line `headrace`; every command imports what it needs only when it runs."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from infra import entrypoints

app = typer.Typer(
    name="headrace",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
FORWARD_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
EXIT_NOT_RUNNING = 3

DataOption = Annotated[
    Path | None,
    typer.Option("--data", envvar="HEADRACE_DATA", help="Folder of databases, logs and keys; .headrace by default."),
]


def _print_version(requested: bool) -> None:
    if requested:
        from libs.version import VERSION

        typer.echo(f"headrace {VERSION}")
        raise typer.Exit


@app.callback()
def headrace(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Headrace, a self-hosted build server. `headrace up` starts everything; settings are environment variables."""


@app.command()
def up(
    data: DataOption = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once all is ready.")] = False,
) -> None:
    """Start everything on this machine: MongoDB, NATS, the services, the gateway and one agent.

    No Docker and no root needed. Prints the address and, the first time, the administrator's password.
    Stays in the foreground until Ctrl-C; with --detach use `headrace down`.

    - **HEADRACE_HOST**, **HEADRACE_PORT**: where it listens; 127.0.0.1 and 8080 by default
    - **HEADRACE_REPLICAS**: processes of each service and of the gateway; 1 by default
    - **HEADRACE_ADMIN_USERNAME**, **HEADRACE_ADMIN_PASSWORD**: the first administrator; admin and a random one
    - **HEADRACE_MONGODB_URL**, **HEADRACE_NATS_URL**: servers to use instead of the embedded ones
    - **HEADRACE_MAIL_HOST**, **_PORT**, **_FROM**, **_USERNAME**, **_PASSWORD**, **_TLS**: where mails go

    Example: `HEADRACE_PORT=9000 headrace up --detach`
    """
    _set_data_folder(data)
    if detach:
        from infra.local.stack_commands import start_detached

        entrypoints.exit_with_message(lambda: sys.exit(start_detached()))
    # The supervisor replaces us, so that this command line does not stay in memory with it.
    os.execv(sys.executable, [sys.executable, "-m", "infra", "supervise"])  # noqa: S606


@app.command()
def down(data: DataOption = None) -> None:
    """Stop what `headrace up` started, and wait until it is over. Harmless when nothing runs."""
    _set_data_folder(data)
    from infra.local import stack_commands

    entrypoints.exit_with_message(lambda: typer.echo(stack_commands.stop_stack()))


@app.command()
def status(
    data: DataOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="An array of name, pid, ready, address.")] = False,
) -> None:
    """Show every process and whether it is ready.

    Exit status: 0 all are ready, 1 some are not, 3 nothing runs.
    """
    _set_data_folder(data)
    from infra.local import stack_commands

    folder = stack_commands.get_data_folder()
    rows = stack_commands.list_processes(folder)
    if as_json:
        typer.echo(json.dumps(rows or [], indent=2))
    elif rows:
        _print_table(rows)
    if rows is None:
        typer.echo(f"Headrace is not running on {folder.path}; start it with `headrace up`.", err=True)
        raise typer.Exit(EXIT_NOT_RUNNING)
    raise typer.Exit(0 if rows and all(row["ready"] for row in rows) else 1)


@app.command()
def migrate(data: DataOption = None) -> None:
    """Create or update streams, consumers and indexes. `up` does it by itself; elsewhere run it before the services."""
    _connect_to_local_stack(data)
    entrypoints.exit_with_message(entrypoints.run_migration)


@app.command()
def service(
    name: Annotated[str, typer.Argument(help=", ".join(entrypoints.SERVICES))], data: DataOption = None
) -> None:
    """Run one replica of one service in the foreground.

    Needs **HEADRACE_MONGODB_URL**, **HEADRACE_NATS_URL** and **HEADRACE_MASTER_KEY**, or a stack that runs on the data
    folder. **HEADRACE_HEALTH_PORT**: of /healthz, /readyz and /metrics.

    Example: `headrace service builds`
    """
    _connect_to_local_stack(data, name if name in entrypoints.SERVICES else "migrate")
    entrypoints.exit_with_message(lambda: entrypoints.run_service(name))


@app.command()
def gateway(data: DataOption = None) -> None:
    """Run one replica of the gateway in the foreground; replicas may share **HEADRACE_PORT**."""
    _connect_to_local_stack(data, "gateway")
    entrypoints.exit_with_message(entrypoints.run_gateway)


@app.command()
def secrets(
    folder: Annotated[Path, typer.Argument(help="Where a folder for every process is made.")],
    mongodb: Annotated[str, typer.Option(help="host:port of MongoDB; several with commas.")] = "mongo:27017",
    nats: Annotated[str, typer.Option(help="host:port of NATS.")] = "nats:4222",
) -> None:
    """Draw the passwords and keys of a deployment: those that are missing, as files for each of its processes.

    Everything that was drawn stays in `secrets` below the folder. Files for mongod and nats-server are among them.

    Example: `headrace secrets /deployment`
    """
    from infra import deployment_secrets

    entrypoints.exit_with_message(
        lambda: deployment_secrets.write_secret_files(folder, deployment_secrets.Deployment(mongodb=mongodb, nats=nats))
    )


@app.command(context_settings=FORWARD_ARGUMENTS, add_help_option=False)
def agent(context: typer.Context) -> None:
    """Register or run a build agent: see `headrace agent --help`."""
    from agent.cli import app as agent_app

    agent_app(args=context.args, prog_name="headrace agent")


@app.command()
def rebuild(
    service: Annotated[str, typer.Argument(help="Whose views: " + ", ".join(entrypoints.SERVICES))],
    view: Annotated[str | None, typer.Argument(help="One view; all of the service by default.")] = None,
    data: DataOption = None,
) -> None:
    """Build views anew from the event log, beside the ones in use, and swap them in; shows progress.

    Example: `headrace rebuild builds`
    """
    _connect_to_local_stack(data)
    from infra.rebuild import rebuild as rebuild_views

    entrypoints.exit_with_message(lambda: rebuild_views(service, view))


@app.command(name="rotate-keys")
def rotate_keys(data: DataOption = None) -> None:
    """Sign log-ins with a new key; older keys verify until the last log-in that they signed has ended."""
    _connect_to_local_stack(data)
    from infra.key_rotation import rotate_signing_keys

    entrypoints.exit_with_message(rotate_signing_keys)


@app.command()
def backup(
    file: Annotated[str, typer.Argument(help="Where it goes; `-`: to the standard output.")],
    verify: Annotated[bool, typer.Option("--verify", help="Check the file instead; needs no system.")] = False,
    without_logs: Annotated[bool, typer.Option("--without-logs", help="Leave the logs of builds out.")] = False,
    without_artifacts: Annotated[
        bool, typer.Option("--without-artifacts", help="Leave the files of artifacts out.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Back up all services, as they are at one moment, while they go on; or check a backup.

    The file has checksums throughout. **HEADRACE_BACKUP_KEY** seals it: the base64 of 32 bytes, or a passphrase.
    The master key is not in it. Exit status: 0 done, or the file is sound; 1 not.

    Examples: `headrace backup today.backup`, `headrace backup - | ssh store 'cat > today.backup'`,
    `headrace backup --verify today.backup`
    """
    from infra.backup import backup_commands

    _connect_to_local_stack(data)
    left_out = [name for name, chosen in (("logs", without_logs), ("artifacts", without_artifacts)) if chosen]
    entrypoints.exit_with_message(
        lambda: backup_commands.verify(file) if verify else backup_commands.backup(file, left_out)
    )


@app.command()
def restore(
    file: Annotated[str, typer.Argument(help="A backup; `-`: from the standard input.")],
    purge_streams: Annotated[
        bool, typer.Option("--purge-streams", help="Empty the JetStream streams of the system that was here before.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Make an empty system the one that was backed up; its services must not run.

    Needs **HEADRACE_MASTER_KEY** of the system that was backed up, and **HEADRACE_BACKUP_KEY** if the backup is sealed.
    Nothing is written unless the whole file is sound. Interrupted, it begins again. Exit status: 0 done, 1 not.

    Examples: `headrace restore today.backup --data new`, `ssh store 'cat today.backup' | headrace restore -`
    """
    from infra.backup import backup_commands

    _connect_to_local_stack(data)
    entrypoints.exit_with_message(lambda: backup_commands.restore(file, purge=purge_streams))


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="healthy, looked_at and findings.")] = False,
    data: DataOption = None,
) -> None:
    """Look at a deployment from outside and say what is wrong with it, why that matters and what to do.

    Settings, key files, MongoDB, NATS, streams and who follows them, services, gateway, mail server, runners and queue.
    It changes nothing and sends no mail. Exit status: 0 all is well, 1 there are findings.

    Example: `headrace doctor`, or in a cluster with the settings of the migration job
    """
    _set_data_folder(data)
    from infra.doctor import diagnosis

    raise typer.Exit(diagnosis.run_doctor(as_json=as_json))


@app.command()
def events(
    start: Annotated[str, typer.Option("--from", help="A time (2026-01-31T12:00:00Z), `start`, or `now`.")] = "now",
    raw: Annotated[bool, typer.Option("--raw", help="One JSON object per line, for other programs.")] = False,
    data: DataOption = None,
) -> None:
    """Follow the event stream in this terminal.

    Example: `headrace events --from start`
    """
    _connect_to_local_stack(data)
    from infra.event_stream import follow_events

    entrypoints.exit_with_message(lambda: follow_events(start, raw=raw))


@app.command()
def history(
    kind: Annotated[str, typer.Argument(help="user, project, build, runner, ...")],
    id: Annotated[str, typer.Argument(help="Its number or UUID.")],  # noqa: A002
    at: Annotated[str | None, typer.Option("--at", help="A time: what it was like then, as JSON.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="One JSON object per line, for other programs.")] = False,
    data: DataOption = None,
) -> None:
    """Tell what happened to one thing and who did it, or what it was like at a time.

    Example: `headrace history project 1`
    """
    _connect_to_local_stack(data)
    from infra.history import print_history

    entrypoints.exit_with_message(lambda: print_history(kind, id, at, raw=raw))


@app.command()
def demo(data: DataOption = None) -> None:
    """Start a stack, build a repository in front of your eyes, and say what to try next.

    With **HEADRACE_URL** it happens on the system that runs there, whose administrator's password is
    **HEADRACE_ADMIN_PASSWORD**; the sample is served to it from here meanwhile.

    **REPO**, **BRANCH**, **SPEC**: your own repository instead of the sample; **KEEP=1** leaves the stack running.

    Example: `REPO=/home/me/project BRANCH=main headrace demo`
    """
    _set_data_folder(data)
    from infra.demo.walkthrough import run_demo as show

    entrypoints.exit_with_message(show)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("process", "pid", "ready", "address")
    for row in rows:
        ready = "[green]yes[/]" if row["ready"] else "[red]no[/]"
        table.add_row(row["name"], str(row["pid"] or "restarting"), ready, row["address"])
    Console().print(table)


def _set_data_folder(data: Path | None) -> None:
    if data is not None:
        os.environ["HEADRACE_DATA"] = str(data)


def _connect_to_local_stack(data: Path | None, login: str = "migrate") -> None:
    _set_data_folder(data)
    from infra.local.stack_commands import connect_to_stack

    entrypoints.exit_with_message(lambda: connect_to_stack(login))


def main() -> None:
    app(prog_name="headrace")
