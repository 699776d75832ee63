"""Commands `headrace projects ...`: projects, their settings, and the statuses sent to their forges."""

from typing import Annotated, Any

import typer

from client.commands.options import JsonOption, ProjectArgument, YesOption, confirm
from client.errors import UsageError

app = typer.Typer(no_args_is_help=True)

COLUMNS = ("id", "name", "repository", "branch", "last_build")
DETAILS = (
    "id", "name", "owner_alias", "alias", "description", "visibility", "repository", "branch", "spec_file_path",
    "allow_concurrent_execution", "keep_number_build", "protected_branches", "available_steps", "last_build",
)  # fmt: skip
SETTINGS = (
    "name", "description", "repository", "branch", "spec_file_path", "keep_number_build", "allow_concurrent_execution",
    "protected_branches", "visibility",
)  # fmt: skip
STATUS_COLUMNS = ("requested", "build_id", "sha", "state", "status", "attempts", "target", "reason")
DEFAULT_SPEC_FILE = "/headrace.yaml"
MAX_STATUSES = 200
SERVER = "Default: the server's setting."


@app.command("ls")
def list_projects(as_json: JsonOption = False) -> None:
    """List the projects that you may see."""
    from client.output.tables import show_rows
    from client.session.connection import connect

    with connect() as client:
        rows = client.get("/developer/projects")
    show_rows(rows if as_json else map(_with_last_build, rows), COLUMNS, as_json=as_json)


@app.command("show")
def show_project(project: ProjectArgument, as_json: JsonOption = False) -> None:
    """Show the settings of a project."""
    from client.builds.overview import find_project
    from client.output.tables import show_fields
    from client.session.connection import connect
    from client.session.console_urls import parse_target

    target = parse_target(project, "projects")
    with connect(target.server_url) as client:
        row = find_project(client, target.id)
    show_fields(row if as_json else _with_last_build(row), DETAILS, as_json=as_json)


@app.command("create")
def create_project(
    name: Annotated[str, typer.Argument(help="Name of the project.")],
    repository: Annotated[str, typer.Option("--repository", help="URL of the git repository.")],
    branch: Annotated[str, typer.Option("--branch", help="Branch to build; `*` for the default branch.")] = "*",
    spec_file: Annotated[
        str, typer.Option("--spec-file", help="Path of the spec file or pipeline file in the repository.")
    ] = DEFAULT_SPEC_FILE,
    description: Annotated[str, typer.Option("--description", help="Description.")] = "",
    concurrent: Annotated[
        bool, typer.Option("--concurrent/--no-concurrent", help="Run builds of the project at the same time.")
    ] = True,
    private: Annotated[
        bool | None, typer.Option("--private/--internal", help="Visibility. Default: the server's setting.")
    ] = None,
    credential: Annotated[int | None, typer.Option("--credential", help="Id of the SSH key of the repository.")] = None,
    keep_builds: Annotated[int | None, typer.Option("--keep-builds", help=f"Finished builds to keep. {SERVER}")] = None,
    keep_build_days: Annotated[
        int | None, typer.Option("--keep-build-days", help=f"Days to keep finished builds. {SERVER}")
    ] = None,
    keep_logs: Annotated[
        int | None, typer.Option("--keep-logs", help=f"Finished builds whose logs to keep. {SERVER}")
    ] = None,
    keep_log_days: Annotated[int | None, typer.Option("--keep-log-days", help=f"Days to keep logs. {SERVER}")] = None,
    keep_artifacts: Annotated[
        int | None, typer.Option("--keep-artifacts", help=f"Finished builds whose artifacts to keep. {SERVER}")
    ] = None,
    keep_artifact_days: Annotated[
        int | None, typer.Option("--keep-artifact-days", help=f"Days to keep artifacts. {SERVER}")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Create a project. Needs an administrator.

    Example: `headrace projects create shop --repository https://git.example/shop.git --branch main`
    """
    from client.output.tables import show_fields
    from client.session.connection import connect

    fields: dict[str, Any] = {
        "name": name,
        "description": description,
        "repository": repository,
        "branch": branch,
        "spec_file_path": spec_file if spec_file.startswith("/") else f"/{spec_file}",
        "allow_concurrent_execution": concurrent,
        "repository_credential_id": credential,
    }
    limits = {
        "keep_number_build": keep_builds,
        "keep_build_days": keep_build_days,
        "keep_number_log": keep_logs,
        "keep_log_days": keep_log_days,
        "keep_number_artifact": keep_artifacts,
        "keep_artifact_days": keep_artifact_days,
    }
    fields |= {name: limit for name, limit in limits.items() if limit is not None}
    if private is not None:
        fields["visibility"] = "private" if private else "internal"
    with connect() as client:
        fields["executor_id"] = _find_executor(client)
        row = client.post("/admin/projects", {"project": fields})
    show_fields(row if as_json else _with_last_build(row), DETAILS, as_json=as_json)


@app.command("set")
def change_project(
    project: ProjectArgument,
    settings: Annotated[list[str], typer.Argument(help=f"KEY=VALUE. Keys: {', '.join(SETTINGS)}.")],
    as_json: JsonOption = False,
) -> None:
    """Change settings of a project. Needs a maintainer of the project, for the repository its owner.

    The values of a list are separated by commas. Each setting is changed by a separate request.

    Example: `headrace projects set shop branch=main protected_branches=main,release/*`
    """
    from client.builds.overview import find_project
    from client.output.tables import show_fields
    from client.session.connection import connect
    from client.session.console_urls import parse_target

    changes = dict(_parse_setting(text) for text in settings)
    target = parse_target(project, "projects")
    with connect(target.server_url) as client:
        row = find_project(client, target.id)
        for key, value in changes.items():
            row = client.patch(f"/developer/projects/{row['id']}/{key}", {"project": {key: value}})
    show_fields(row if as_json else _with_last_build(row), DETAILS, as_json=as_json)


@app.command("rm")
def delete_project(project: ProjectArgument, yes: YesOption = False) -> None:
    """Delete a project with its builds. Needs the owner of the project."""
    from client.builds.overview import find_project
    from client.session.connection import connect
    from client.session.console_urls import parse_target

    target = parse_target(project, "projects")
    with connect(target.server_url) as client:
        row = find_project(client, target.id)
        confirm(f"Delete the project {row['name']} with all its builds?", yes=yes)
        client.delete(f"/developer/projects/{row['id']}")
    typer.echo(f"Project {row['name']} deleted.")


@app.command("statuses")
def list_statuses(
    project: ProjectArgument,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MAX_STATUSES, help="Number of statuses.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the latest commit statuses for the forge of a project, with the reason why one was not sent.

    Needs a maintainer of the project.
    """
    from client.builds.overview import find_project
    from client.output.tables import format_age, show_rows
    from client.session.connection import connect
    from client.session.console_urls import parse_target

    target = parse_target(project, "projects")
    with connect(target.server_url) as client:
        found = find_project(client, target.id)
        page = client.get(f"/developer/projects/{found['id']}/outgoing-requests", limit=limit, kind="commit_status")
    rows = page["outgoing_requests"]
    table = [{**row, "sha": row["sha"][:8], "requested": format_age(row["requested_at"])} for row in rows]
    show_rows(rows if as_json else table, STATUS_COLUMNS, as_json=as_json)


def _find_executor(client: Any) -> int:
    """Return the id of the executor for new projects: the one named `default`, or the first one. Raises UsageError."""
    executors = client.get("/developer/executors")
    chosen = [row for row in executors if row["name"] == "default"] or executors
    if not chosen:
        raise UsageError("The server has no executor. Create one first.")
    return int(chosen[0]["id"])


def _parse_setting(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or key not in SETTINGS:
        raise UsageError(f"{text!r} is not KEY=VALUE. Keys: {', '.join(SETTINGS)}.")
    if key == "allow_concurrent_execution":
        if value not in ("true", "false"):
            raise UsageError(f"{key} must be true or false.")
        return key, value == "true"
    if key == "protected_branches":
        return key, [name for name in value.split(",") if name]
    if key == "keep_number_build":
        return key, int(value) if value.isdigit() else value or None
    return key, value


def _with_last_build(project: dict[str, Any]) -> dict[str, Any]:
    last = project["last_build"]
    if last["created_at"] is None:
        text = ""
    elif last["exit_code"] is None:
        text = "RUNNING"
    else:
        text = "SUCCESS" if last["exit_code"] == 0 else f"FAILED ({last['exit_code']})"
    return {**project, "last_build": text}
