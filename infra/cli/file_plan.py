"""Command `plan`: compile a spec file or pipeline file on this machine, as the planner does."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.commands.options import JsonOption
from client.errors import EXIT_FAILED

if TYPE_CHECKING:
    from infra.local_plan import FilePlan

app = typer.Typer()

COLUMNS = ("name", "stage", "when", "needs", "tags", "image")
SPEC_COLUMNS = ("name", "image", "steps")


@app.command()
def plan(
    file: Annotated[
        Path, typer.Argument(help="Spec file, or pipeline file named `.gitlab-ci.yml` or `gitflic-ci.yaml`.")
    ],
    ref: Annotated[
        str, typer.Option("--ref", help="Branch, or `refs/tags/NAME`, for rules. Default: the current branch.")
    ] = "",
    source: Annotated[str, typer.Option("--source", help="What starts the build: push, web or api.")] = "push",
    variables: Annotated[
        list[str] | None, typer.Option("--variable", help="KEY=VALUE, like a secret of the project; can be repeated.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the jobs that a spec file or pipeline file defines, its warnings, and its errors with line and column.

    Runs nothing and needs no server. Included files are read from the folder of the repository. Exit status: 0 if the
    file is valid, otherwise 1.

    Example: `headrace plan .gitlab-ci.yml --ref main`
    """
    from client.output.tables import show_rows
    from client.output.terminal_text import escape_controls, print_json, print_note
    from infra.local_plan import plan_file

    found: FilePlan = plan_file(file, ref, source, variables or [])
    if as_json:
        print_json({"error": found.error, "warnings": found.warnings, "jobs": found.jobs})
    elif not found.error:
        show_rows(found.jobs, SPEC_COLUMNS if "steps" in found.jobs[0] else COLUMNS, as_json=False)
    for warning in found.warnings:
        print_note(f"warning: {escape_controls(warning)}")
    if found.error:
        print_note(f"{file}: {escape_controls(found.error)}")
        raise typer.Exit(EXIT_FAILED)
