"""The typer application and the entry point of the program `headrace`."""

from typing import Annotated

import typer

from infra.cli import backups, embedded_stack, operations, processes

app = typer.Typer(
    name="headrace",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
FORWARD_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def _print_version(requested: bool) -> None:
    if requested:
        from libs.version import VERSION

        typer.echo(f"headrace {VERSION}")
        raise typer.Exit


@app.callback()
def headrace(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Headrace, a self-hosted build server. `headrace up` starts everything; settings are environment variables."""


for commands in (embedded_stack.app, processes.app, operations.app, backups.app):
    app.add_typer(commands)  # without a name, so that the commands are not in a group


@app.command(context_settings=FORWARD_ARGUMENTS, add_help_option=False)
def agent(context: typer.Context) -> None:
    """Register or run a build agent; see `headrace agent --help`."""
    from agent.cli import app as agent_app

    agent_app(args=context.args, prog_name="headrace agent")


def main() -> None:
    app(prog_name="headrace")
