"""Options and arguments that several commands share."""

from typing import Annotated

import typer

from client.commands.completion import complete_builds, complete_projects

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
BuildArgument = Annotated[
    str, typer.Argument(help="Number of the build, or the URL of its page.", autocompletion=complete_builds)
]
ProjectArgument = Annotated[
    str,
    typer.Argument(help="Number, name or owner/alias of a project, or its URL.", autocompletion=complete_projects),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation unless `yes` is set. Aborts the command without it."""
    if not yes:
        typer.confirm(question, abort=True)
