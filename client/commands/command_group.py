"""The command group of the program `headrace`. It turns errors of the client into a message and an exit status."""

from typing import Any

import typer
from typer.core import TyperGroup

from client.errors import ClientError


class ClientGroup(TyperGroup):
    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except ClientError as error:
            from client.output.terminal_text import escape_controls, print_note

            print_note(f"headrace: {escape_controls(str(error))}")
            raise typer.Exit(error.exit_code) from error
