"""Commands `headrace credentials ...`: the SSH keys with which repositories are read."""

import sys
from typing import Annotated

import typer

from client.commands.options import JsonOption, YesOption, confirm

HELP = "SSH keys for repositories: list, create, delete."

app = typer.Typer(no_args_is_help=True)

COLUMNS = ("id", "name")


@app.command("ls")
def list_credentials(as_json: JsonOption = False) -> None:
    """List the SSH keys, without their content."""
    from client.output.tables import show_rows
    from client.session.connection import connect

    with connect() as client:
        show_rows(client.get("/developer/credentials"), COLUMNS, as_json=as_json)


@app.command("create")
def create_credential(
    name: Annotated[str, typer.Argument(help="Name of the key.")], as_json: JsonOption = False
) -> None:
    """Store a private SSH key, read from the standard input. Needs an administrator.

    Example: `headrace credentials create deploy < ~/.ssh/deploy_key`
    """
    from client.output.tables import show_fields
    from client.session.connection import connect

    with connect() as client:
        fields = {"name": name, "ssh_key": sys.stdin.read()}
        row = client.post("/admin/credentials", {"credential": fields})
    show_fields({"id": row["id"], "name": row["name"]}, COLUMNS, as_json=as_json)


@app.command("rm")
def delete_credential(
    credential: Annotated[int, typer.Argument(help="Number of the key.")], yes: YesOption = False
) -> None:
    """Delete an SSH key that no project uses. Needs an administrator."""
    from client.session.connection import connect

    confirm(f"Delete the SSH key {credential}?", yes=yes)
    with connect() as client:
        client.delete(f"/admin/credentials/{credential}")
    typer.echo(f"SSH key {credential} deleted.")
