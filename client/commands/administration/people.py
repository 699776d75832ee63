"""Commands `headrace users ...`, for administrators, and `headrace tokens ...`, for a user's own tokens."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.commands.options import JsonOption, YesOption, confirm
from client.errors import ApiError, UsageError

if TYPE_CHECKING:
    from client.http_client import Client

USERS_HELP = "Users of the server: list, create, change, delete. Needs an administrator."
TOKENS_HELP = "Your personal access tokens: list, create, revoke."

users = typer.Typer(no_args_is_help=True)
tokens = typer.Typer(no_args_is_help=True)

USER_COLUMNS = ("id", "username", "roles", "enabled", "email", "projects_id")
TOKEN_COLUMNS = ("id", "name", "scopes", "created_at", "expires_at", "last_used_at")
ROLES = {"administrator": "ROLE_ADMIN", "developer": "ROLE_DEVELOPER"}
UserArgument = Annotated[str, typer.Argument(help="Username or number of the user.")]
RolesOption = Annotated[
    list[str] | None, typer.Option("--role", help=f"{' or '.join(ROLES)}; can be repeated. Default: developer.")
]
PasswordOption = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from the standard input. Default: prompt for it.")
]

NewRolesOption = Annotated[
    list[str] | None, typer.Option("--role", help=f"{' or '.join(ROLES)}; can be repeated. Default: unchanged.")
]
NewPasswordOption = Annotated[
    bool, typer.Option("--password-stdin", help="Read a new password from the standard input. Default: unchanged.")
]


@users.command("ls")
def list_users(as_json: JsonOption = False) -> None:
    """List the users, with their roles and projects."""
    from client.output.tables import show_rows
    from client.session.connection import connect

    with connect() as client:
        show_rows(client.get("/developer/developers"), USER_COLUMNS, as_json=as_json)


@users.command("create")
def create_user(
    username: Annotated[str, typer.Argument(help="Username.")],
    roles: RolesOption = None,
    email: Annotated[str, typer.Option("--email", help="E-mail address, for mails about failed builds.")] = "",
    password_stdin: PasswordOption = False,
    as_json: JsonOption = False,
) -> None:
    """Create a user with a password, who may sign in at once."""
    from client.output.tables import show_fields
    from client.session.connection import connect

    fields = {"username": username, "roles": _parse_roles(roles), "email": email or None}
    fields["password"] = _read_password(from_input=password_stdin)
    with connect() as client:
        row = client.post("/admin/developers", {"developer": fields})
    show_fields(_without_password(row), USER_COLUMNS, as_json=as_json)


@users.command("set")
def change_user(
    user: UserArgument,
    roles: NewRolesOption = None,
    email: Annotated[str | None, typer.Option("--email", help="E-mail address; empty: none.")] = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether the user may sign in.", show_default=False)
    ] = None,
    password_stdin: NewPasswordOption = False,
    as_json: JsonOption = False,
) -> None:
    """Change a user's roles, e-mail address, state or password.

    A change of roles, state or password ends all sessions of the user and revokes the personal access tokens.
    """
    from client.output.tables import show_fields
    from client.session.connection import connect

    changes: dict[str, Any] = {}
    if roles:
        changes["roles"] = _parse_roles(roles)
    if email is not None:
        changes["email"] = email or None
    if enabled is not None:
        changes["enabled"] = enabled
    if password_stdin:
        changes["password"] = _read_password(from_input=True)
    if not changes:
        raise UsageError("Nothing to change: use --role, --email, --enable, --disable or --password-stdin.")
    with connect() as client:
        row = _find_user(client, user)
        for field, value in changes.items():
            row = client.patch(f"/admin/developers/{row['id']}/{field}", {"developer": {field: value}})
    show_fields(_without_password(row), USER_COLUMNS, as_json=as_json)


@users.command("rm")
def delete_user(user: UserArgument, yes: YesOption = False) -> None:
    """Delete a user and erase the user's name and e-mail address."""
    from client.session.connection import connect

    with connect() as client:
        row = _find_user(client, user)
        confirm(f"Delete the user {row['username']}?", yes=yes)
        client.delete(f"/admin/developers/{row['id']}")
    typer.echo(f"User {row['username']} deleted.")


@tokens.command("ls")
def list_tokens(as_json: JsonOption = False) -> None:
    """List your tokens, without their values."""
    from client.output.tables import show_rows
    from client.session.connection import connect

    with connect() as client:
        show_rows(client.get("/user/tokens"), TOKEN_COLUMNS, as_json=as_json)


@tokens.command("create")
def create_token(
    name: Annotated[str, typer.Argument(help="Name of the token, like the program that uses it.")],
    scopes: Annotated[
        list[str] | None, typer.Option("--scope", help="Scope, like BUILD_READ; can be repeated. Default: all rights.")
    ] = None,
    expires_at: Annotated[
        str | None, typer.Option("--expires-at", help="Last valid day, like 2030-12-31. Default: no expiry.")
    ] = None,
    password_stdin: PasswordOption = False,
    as_json: JsonOption = False,
) -> None:
    """Create a personal access token and print its value, which cannot be read again.

    Prompts for your password, because a token cannot create another token, which could have more rights.
    """
    from client.http_client import Client
    from client.output.terminal_text import print_json
    from client.session.connection import connect

    with connect() as client:
        username = client.get("/user/info")["username"]
        with Client.sign_in(client.url, username, _read_password(from_input=password_stdin)) as signed_in:
            fields = {"name": name, "scopes": scopes or [], "expires_at": expires_at}
            row = signed_in.post("/user/tokens", {"token": fields})
    if as_json:
        print_json(row)
    else:
        typer.echo(row["value"])


@tokens.command("rm")
def revoke_token(token: Annotated[int, typer.Argument(help="Number of the token.")]) -> None:
    """Revoke one of your personal access tokens."""
    from client.session.connection import connect

    with connect() as client:
        client.delete(f"/user/tokens/{token}")
    typer.echo(f"Token {token} revoked.")


def _find_user(client: "Client", name: str) -> dict[str, Any]:
    for row in client.get("/developer/developers"):
        if name.lower() == row["username"].lower() or name == str(row["id"]):
            return dict(row)
    raise ApiError(404, "DEVELOPER_NOT_FOUND", f"There is no user {name}.")


def _parse_roles(names: list[str] | None) -> list[str]:
    unknown = [name for name in names or [] if name not in (*ROLES, *ROLES.values())]
    if unknown:
        raise UsageError(f"Unknown role {unknown[0]}: use {' or '.join(ROLES)}.")
    return [ROLES.get(name, name) for name in names or ["developer"]]


def _read_password(*, from_input: bool) -> str:
    if from_input:
        return sys.stdin.read().rstrip("\r\n")
    return str(typer.prompt("Password", hide_input=True, err=True))


def _without_password(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "password"}
