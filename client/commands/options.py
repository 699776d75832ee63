"""Options and arguments that several commands share."""

from typing import Annotated

import typer

from client.commands.completion import complete_builds, complete_projects
from client.errors import UsageError

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
    """Ask for confirmation unless `yes` is set. Raises typer.Abort if the user declines."""
    if not yes:
        typer.confirm(question, abort=True)


def parse_variable(text: str) -> dict[str, str]:
    """Return the variable of a launch that the text NAME=VALUE sets. Raises UsageError for other texts."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise UsageError(f"{text!r} is not NAME=VALUE.")
    return {"name": name, "value": value}
