"""The typer application and the entry point of `headrace`: commands of users, and of operators in groups."""

import os
from enum import StrEnum
from typing import Annotated, Any

import typer
from typer.completion import get_completion_inspect_parameters, install_callback, show_callback

from client.commands.client_commands import add_client_commands
from client.commands.command_group import ClientGroup
from client.commands.completion import complete_servers
from client.session.connection import SERVER_VARIABLE
from infra.cli import backups, deployment_files, embedded_stack, file_plan, operations, processes, recorded_events

COMPLETION_VARIABLE = "_HEADRACE_COMPLETE"
FORWARD_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
EXIT_PACKAGE_MISSING = 1


class Shell(StrEnum):
    bash = "bash"
    zsh = "zsh"
    fish = "fish"


class HeadraceGroup(ClientGroup):
    """The command group of `headrace`. It reports missing packages if only the client is installed."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            extra = "agent" if ctx.invoked_subcommand == "agent" else "server"
            typer.echo(
                f"headrace: this command needs the package {error.name}: pip install 'headrace[{extra}]'", err=True
            )
            raise typer.Exit(EXIT_PACKAGE_MISSING) from error


app = typer.Typer(
    name="headrace",
    cls=HeadraceGroup,
    no_args_is_help=True,
    add_completion=False,  # the options below take the name of a shell, so that they also work in scripts
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


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
    server: Annotated[
        str,
        typer.Option(
            "--server",
            envvar=SERVER_VARIABLE,
            help="Name of the server to use, from `headrace servers`. Default: the current one.",
            autocompletion=complete_servers,
        ),
    ] = "",
    show_completion: Annotated[
        Shell | None,
        typer.Option("--show-completion", callback=show_callback, is_eager=True, help="Print a shell's completion."),
    ] = None,
    install_completion: Annotated[
        Shell | None,
        typer.Option(
            "--install-completion", callback=install_callback, is_eager=True, help="Install a shell's completion."
        ),
    ] = None,
) -> None:
    """Headrace, a self-hosted build server.

    `headrace login URL` signs in to a server, `headrace server up` starts one on this machine.
    """
    if server:
        os.environ[SERVER_VARIABLE] = server


add_client_commands(app)
app.add_typer(recorded_events.app)
app.add_typer(file_plan.app)
app.add_typer(deployment_files.secrets_with_former_command, name="secrets")

server_commands = typer.Typer(no_args_is_help=True)
for commands in (embedded_stack.app, processes.app):
    server_commands.add_typer(commands)  # without a name, so that the commands are not in a group
app.add_typer(server_commands, name="server", help="Run a server on this machine, or a single process of a deployment.")

admin_commands = typer.Typer(no_args_is_help=True)
for commands in (operations.app, backups.app, deployment_files.app):
    admin_commands.add_typer(commands)
app.add_typer(admin_commands, name="admin", help="Operate a deployment: backups, checks, event log, keys.")


@app.command(context_settings=FORWARD_ARGUMENTS, add_help_option=False)
def agent(context: typer.Context) -> None:
    """Register or run a build agent; see `headrace agent --help`."""
    from agent.cli import app as agent_app

    agent_app(args=context.args, prog_name="headrace agent")


def _hide(commands: typer.Typer) -> typer.Typer:
    """Return the commands as hidden top-level commands: their names in release 0.2, which had no groups."""
    hidden = typer.Typer()
    for command in commands.registered_commands:
        if command.callback and command.name not in recorded_events.NAMES:
            hidden.command(command.name or command.callback.__name__, hidden=True)(command.callback)
    for group in commands.registered_groups:
        if group.typer_instance:
            hidden.add_typer(group.typer_instance, name=group.name, hidden=True, help=group.help)
    return hidden


for commands in (embedded_stack.app, processes.app, operations.app, backups.app):
    app.add_typer(_hide(commands))


def main() -> None:
    if COMPLETION_VARIABLE in os.environ:
        get_completion_inspect_parameters()  # registers the shells
    app(prog_name="headrace")
