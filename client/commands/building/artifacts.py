"""Commands `headrace artifacts ls|get`: list and download the artifacts of a build."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.commands.options import BuildArgument, JsonOption
from client.errors import ApiError, UsageError

if TYPE_CHECKING:
    from client.http_client import Client

HELP = "Artifacts of jobs: list, download."

app = typer.Typer(no_args_is_help=True)

COLUMNS = ("job", "file_name", "artifact_type", "size", "uploaded_at", "expire_at")
JobsOption = Annotated[
    list[str] | None, typer.Option("--job", "-j", help="Name or id of a job; can be repeated. Default: all jobs.")
]


@app.command("ls")
def list_artifacts(build: BuildArgument, jobs: JobsOption = None, as_json: JsonOption = False) -> None:
    """List the artifacts of the jobs of a build."""
    from client.output.tables import show_rows
    from client.session.connection import connect
    from client.session.console_urls import parse_target

    target = parse_target(build, "builds")
    with connect(target.server_url) as client:
        show_rows(_list_artifacts(client, target.id, jobs or []), COLUMNS, as_json=as_json)


@app.command("get")
def get_artifacts(
    build: BuildArgument,
    names: Annotated[list[str] | None, typer.Argument(help="Names of files. Default: all artifacts.")] = None,
    jobs: JobsOption = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
) -> None:
    """Download artifacts of a build. Files of several jobs with the same name go to folders named after the jobs.

    Example: `headrace artifacts get 17 artifacts.zip --output build`
    """
    from client.session.connection import connect
    from client.session.console_urls import parse_target

    target = parse_target(build, "builds")
    with connect(target.server_url) as client:
        found = [
            row for row in _list_artifacts(client, target.id, jobs or []) if not names or row["file_name"] in names
        ]
        if not found:
            raise ApiError(404, "ARTIFACT_NOT_FOUND", f"Build {target.id} has no such artifact.")
        for row, path in target_paths(found, output):
            if path.exists() and not force:
                raise UsageError(f"{path} exists. Use --force to replace it.")
            path.parent.mkdir(parents=True, exist_ok=True)
            _download(client, f"/developer/jobs/{row['job_id']}/artifacts/{row['id']}", path)
            typer.echo(str(path))


def _list_artifacts(client: "Client", build_id: str, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    from client.builds.overview import get_jobs, select_jobs

    for job in select_jobs(get_jobs(client, build_id), names, failed=False):
        for row in client.get(f"/developer/jobs/{job['id']}/artifacts"):
            yield {"job": job["name"], "job_id": job["id"], **row}


def target_paths(rows: Sequence[dict[str, Any]], folder: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """Yield each artifact with its path. Only the last part of a name is used, because the server is not trusted."""
    names = [_file_name(row["file_name"]) for row in rows]
    for row, name in zip(rows, names, strict=True):
        yield row, folder / _file_name(row["job"]) / name if names.count(name) > 1 else folder / name


def _file_name(text: str) -> str:
    name = text.replace("\\", "/").rpartition("/")[2]
    if name in ("", ".", "..") or not name.isprintable():
        raise UsageError(f"The artifact {text!r} has no usable file name.")
    return name


def _download(client: "Client", path: str, target: Path) -> None:
    """Download to a temporary name first, so that an incomplete file does not look complete."""
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}", delete=False) as file:
        try:
            with client.stream(path) as response:
                for piece in response.iter_bytes():
                    file.write(piece)
            file.close()
            Path(file.name).replace(target)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
