"""Commands `login`, `logout`, `whoami` and `servers`."""

import sys
from typing import Annotated

import typer

from client.commands.completion import complete_servers
from client.commands.options import JsonOption
from client.errors import SignedOut, UsageError

app = typer.Typer()

ServerArgument = Annotated[
    str, typer.Argument(help="Name of a server. Default: the current one.", autocompletion=complete_servers)
]


@app.command()
def login(
    url: Annotated[str, typer.Argument(envvar="HEADRACE_URL", help="URL of the server.")],
    username: Annotated[str, typer.Option("--username", "-u", help="Username. Default: prompt for it.")] = "",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from the standard input.")
    ] = False,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read a personal access token from the standard input instead.")
    ] = False,
    name: Annotated[str, typer.Option("--name", help="Name of the server in the list. Default: its host.")] = "",
) -> None:
    """Sign in to a server, which becomes the current one.

    A password is exchanged for a personal access token that is valid for 90 days; `headrace logout` revokes it. The
    token is stored in `~/.config/headrace/servers.json`, which only you can read. Programs can set **HEADRACE_URL** and
    **HEADRACE_TOKEN** instead of signing in.

    Example: `headrace login https://ci.example --username dana`
    """
    if password_stdin and token_stdin:
        raise UsageError("Use either --password-stdin or --token-stdin.")
    from client.session.console_urls import normalize_server_url
    from client.session.sign_in import sign_in_with_password, sign_in_with_token

    server_url = normalize_server_url(url)
    if token_stdin:
        server = sign_in_with_token(server_url, _read_secret(), name)
    else:
        username = username or str(typer.prompt("Username", err=True))
        password = _read_secret() if password_stdin else str(typer.prompt("Password", hide_input=True, err=True))
        server = sign_in_with_password(server_url, username, password, name)
    typer.echo(f"Signed in to {server.url} as {server.username}.")


@app.command()
def logout(name: ServerArgument = "") -> None:
    """Sign out of a server: revoke the token that `headrace login` created, and forget the server."""
    from client.session.server_list import load_servers
    from client.session.sign_in import sign_out

    servers = load_servers()
    name = name or servers.current
    if name not in servers.servers:
        raise SignedOut(f"Not signed in{f' to {name}' if name else ''}.")
    if error := sign_out(name):
        typer.echo(f"The token was removed from this machine, but could not be revoked: {error}", err=True)
        raise typer.Exit(error.exit_code)
    typer.echo(f"Signed out of {name}.")


@app.command()
def whoami(as_json: JsonOption = False) -> None:
    """Show the current server and the signed-in user."""
    from client.output.tables import show_fields
    from client.session.connection import connect

    with connect() as client:
        user = {**client.get("/user/info"), "server": client.url}
    show_fields(user, ("username", "id", "roles", "server"), as_json=as_json)


@app.command()
def servers(
    name: Annotated[
        str, typer.Argument(help="Name of the server to make current.", autocompletion=complete_servers)
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """List the servers that you are signed in to, or make one of them the current one.

    `headrace --server NAME ...` and **HEADRACE_SERVER** select a server for one command.
    """
    from client.output.tables import show_rows
    from client.session.server_list import change_servers, load_servers

    known = load_servers()
    if name:
        if name not in known.servers:
            raise UsageError(f"Unknown server {name}. `headrace servers` lists the names.")
        with change_servers() as known:
            known.current = name
    rows = [
        {
            "name": server.name,
            "url": server.url,
            "username": server.username,
            "current": server.name == known.current,
            "expires_at": server.expires_at,
        }
        for server in known.servers.values()
    ]
    show_rows(rows, ("name", "url", "username", "current", "expires_at"), as_json=as_json)


def _read_secret() -> str:
    """Read a password or token from the standard input, without the line feed at its end."""
    text = sys.stdin.read().rstrip("\r\n")
    if not text:
        raise UsageError("The standard input is empty.")
    return text
