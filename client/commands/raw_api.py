"""Commands `headrace api`, which sends any request, and `headrace open`, which opens the web console."""

import json
import sys
from typing import Annotated, Any

import typer

from client.errors import UsageError

app = typer.Typer()

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@app.command()
def api(
    method: Annotated[str, typer.Argument(help=", ".join(METHODS) + ".")],
    path: Annotated[str, typer.Argument(help="Path of a route, like `/api/developer/projects`.")],
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            "-f",
            help="KEY=VALUE in the query (GET, DELETE) or in the JSON body. A dot in the key nests objects: "
            "`build.priority=5`. A value that is valid JSON is sent as JSON, any other value as a string.",
        ),
    ] = None,
    body_stdin: Annotated[bool, typer.Option("--input", help="Read the JSON body from the standard input.")] = False,
) -> None:
    """Send a request to the API as the signed-in user, and print the response. The path may omit `/api`.

    Examples: `headrace api GET /developer/projects`,
    `headrace api PATCH /admin/builds/17/priority -f build.priority=5`
    """
    from client.output.terminal_text import print_json, print_text
    from client.session.connection import connect

    method = method.upper()
    if method not in METHODS:
        raise UsageError(f"{method} is not one of {', '.join(METHODS)}.")
    if not path.startswith("/"):
        raise UsageError(f"The path must begin with a slash, like /developer/projects, not {path!r}.")
    given = parse_fields(fields or [])
    in_query = method in ("GET", "DELETE")
    body = _read_body() if body_stdin else None if in_query or not given else given
    params = dict(parse_field(text) for text in fields or []) if in_query or body_stdin else None
    with connect() as client:
        answer = client.request(method, path.removeprefix("/api"), body, params)
    if isinstance(answer, str):
        print_text(answer.removesuffix("\n"))
    elif answer is not None:
        print_json(answer)


def parse_fields(texts: list[str]) -> dict[str, Any]:
    """Return the request body for KEY=VALUE arguments. A dot in a key separates the names of nested objects."""
    body: dict[str, Any] = {}
    for text in texts:
        key, value = parse_field(text)
        *parents, name = key.split(".")
        place = body
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise UsageError(f"{key}: {parent} has a value already.")
        place[name] = _parse_value(value)
    return body


def parse_field(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise UsageError(f"{text!r} is not KEY=VALUE.")
    return key, value


def _parse_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read_body() -> Any:
    try:
        return json.loads(sys.stdin.read())
    except ValueError as error:
        raise UsageError(f"The standard input is not JSON: {error}.") from error


@app.command("open")
def open_page(
    target: Annotated[
        str, typer.Argument(help="Number of a build, or the name of a project. Default: the console.")
    ] = "",
) -> None:
    """Open the web console in the browser: its home page, a build, or a project."""
    from client.builds.overview import find_project
    from client.session.connection import connect

    with connect() as client:
        page = ""
        if target.isdigit():
            page = f"builds/{target}"
        elif target:
            page = f"projects/{find_project(client, target)['id']}"
        url = f"{client.url}/ui/{page}"
    typer.echo(url)
    typer.launch(url)
