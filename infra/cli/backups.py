"""Commands `backup`, `restore` and `erasures`."""

from pathlib import Path
from typing import Annotated

import typer

from infra import entrypoints
from infra.cli.options import DataOption, connect_to_local_stack

app = typer.Typer()


@app.command()
def backup(
    file: Annotated[str, typer.Argument(help="File to write, which must not exist; `-` for the standard output.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Check an existing backup instead. Needs no running system.")
    ] = False,
    without_logs: Annotated[bool, typer.Option("--without-logs", help="Leave out the logs of builds.")] = False,
    without_artifacts: Annotated[
        bool, typer.Option("--without-artifacts", help="Leave out the files of artifacts.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Write a consistent online backup of all services, or check a backup.

    The file has checksums throughout. **HEADRACE_BACKUP_KEY** encrypts it: 32 bytes in base64, or a passphrase.
    The master key is not included. Exit status: 0 if the backup was written or is intact, otherwise 1.

    Examples: `headrace admin backup today.backup`, `headrace admin backup - | ssh store 'cat > today.backup'`,
    `headrace admin backup --verify today.backup`
    """
    connect_to_local_stack(data)
    from infra.backup import backup_commands

    excluded = [name for name, chosen in (("logs", without_logs), ("artifacts", without_artifacts)) if chosen]
    entrypoints.exit_with_message(
        lambda: backup_commands.verify(file) if verify else backup_commands.backup(file, excluded)
    )


@app.command()
def restore(
    file: Annotated[str, typer.Argument(help="Backup to read; `-` for the standard input.")],
    purge_streams: Annotated[
        bool, typer.Option("--purge-streams", help="Delete the events that JetStream still holds of a lost system.")
    ] = False,
    erasures: Annotated[
        Path | None,
        typer.Option("--erasures", help="List of erased users, of `headrace admin erasures`. They are erased again."),
    ] = None,
    data: DataOption = None,
) -> None:
    """Restore a backup into an empty installation. Stop all services first.

    Needs the **HEADRACE_MASTER_KEY** of the backed-up system, and **HEADRACE_BACKUP_KEY** if the backup is encrypted.
    Writes nothing unless the whole file is intact. Run it again after an interruption. Exit status: 0 if the restore
    is complete, otherwise 1. Users whose erasure is in **--erasures** or still in JetStream are erased again.

    Examples: `headrace admin restore today.backup --data new`,
    `ssh store 'cat today.backup' | headrace admin restore -`
    """
    connect_to_local_stack(data)
    from infra.backup import backup_commands

    entrypoints.exit_with_message(lambda: backup_commands.restore(file, purge=purge_streams, erasures_file=erasures))


@app.command()
def erasures(data: DataOption = None) -> None:
    """List the erased users, one JSON object per line, without names. Keep the list apart from backups.

    `headrace admin restore --erasures FILE` erases them again in a system restored from an older backup.

    Example: `headrace admin erasures > erasures.jsonl`
    """
    connect_to_local_stack(data)
    from infra.backup import backup_commands

    entrypoints.exit_with_message(backup_commands.print_erasures)
