"""Options that several commands share, and functions that apply them to this process's environment variables."""

import os
from pathlib import Path
from typing import Annotated

import typer

from infra import entrypoints

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        envvar="HEADRACE_DATA",
        help="Folder of the embedded stack: databases, logs, keys. Default: .headrace in the current folder.",
    ),
]
RawOption = Annotated[bool, typer.Option("--raw", "--json", help="Print one JSON object per line, for other programs.")]


def set_data_folder(data: Path | None) -> None:
    if data is not None:
        os.environ["HEADRACE_DATA"] = str(data)


def connect_to_local_stack(data: Path | None, login: str = "migrate") -> None:
    """Use the servers of the stack that runs on the data folder, unless the environment names other servers."""
    set_data_folder(data)
    from infra.local.stack_commands import connect_to_stack

    entrypoints.exit_with_message(lambda: connect_to_stack(login))
