"""Commands `headrace secrets ...`: the secrets that jobs get as environment variables."""

import sys
from typing import Annotated, Any

import typer

from client.commands.completion import complete_projects
from client.commands.options import JsonOption, YesOption, confirm
from client.errors import ApiError, UsageError

HELP = "Secrets of projects: list, set, delete."

app = typer.Typer()

COLUMNS = ("id", "name", "env", "projects_id")
SecretArgument = Annotated[str, typer.Argument(help="Name or number of the secret.")]
ProjectsOption = Annotated[
    list[str] | None,
    typer.Option("--project", "-p", help="Project that may use it; can be repeated.", autocompletion=complete_projects),
]


@app.command("ls")
def list_secrets(as_json: JsonOption = False) -> None:
    """List the secrets that you may see, without their values."""
    from client.output.tables import show_rows
    from client.session.connection import connect

    with connect() as client:
        show_rows(client.get("/developer/secrets"), COLUMNS, as_json=as_json)


@app.command("set")
def set_secret(
    name: Annotated[str, typer.Argument(help="Name of the environment variable.")],
    projects: ProjectsOption = None,
    env: Annotated[str | None, typer.Option("--env", help="Label, without effect on builds.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Create a secret, or replace the value of an existing one. The value is read from the standard input.

    One line feed at the end is removed. Needs a maintainer of the projects; a secret without projects needs an
    administrator.

    Example: `headrace secrets set DEPLOY_TOKEN --project shop < token`
    """
    from client.builds.overview import find_project
    from client.output.tables import show_fields
    from client.session.connection import connect

    value = _read_value(name)
    with connect() as client:
        ids = [find_project(client, project)["id"] for project in projects or []]
        known = [row for row in client.get("/developer/secrets") if row["name"] == name]
        if ids:
            known = [row for row in known if set(ids) <= set(row["projects_id"])]
        if len(known) > 1:
            raise UsageError(f"Several secrets are named {name}; name the project with --project.")
        if known:
            path = f"/developer/secrets/{known[0]['id']}"
            row = client.patch(f"{path}/value", {"secret": {"value": value}})
            if env is not None:
                row = client.patch(f"{path}/env", {"secret": {"env": env}})
        else:
            fields = {"name": name, "value": value, "env": env, "projects_id": ids}
            row = client.post("/developer/secrets", {"secret": fields})
    row = {key: content for key, content in row.items() if key != "value"}
    show_fields(row, (*COLUMNS, "detail") if row.get("detail") else COLUMNS, as_json=as_json)


@app.command("rm")
def delete_secret(secret: SecretArgument, yes: YesOption = False) -> None:
    """Delete a secret. It must not be attached to a project. Needs an administrator."""
    from client.session.connection import connect

    with connect() as client:
        row = _find(client, secret)
        confirm(f"Delete the secret {row['name']}?", yes=yes)
        client.delete(f"/admin/secrets/{row['id']}")
    typer.echo(f"Secret {row['name']} deleted.")


def _find(client: Any, name: str) -> dict[str, Any]:
    found = [row for row in client.get("/developer/secrets") if name in (row["name"], str(row["id"]))]
    if not found:
        raise ApiError(404, "SECRET_NOT_FOUND", f"There is no secret {name}.")
    if len(found) > 1:
        raise UsageError(f"Several secrets are named {name}; use an id: {', '.join(str(row['id']) for row in found)}.")
    return dict(found[0])


def _read_value(name: str) -> str:
    if sys.stdin.isatty():
        return str(typer.prompt(f"Value of {name}", hide_input=True, err=True))
    return sys.stdin.read().removesuffix("\n")
