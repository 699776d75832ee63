"""`headrace plan`: compile a spec file or pipeline file of a checkout with the compiler of the builds service."""

import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from client.errors import UsageError
from contracts.builds import LaunchedProject, PlannedJob
from services.builds.pipeline.compiler import Pipeline, compile_pipeline, is_pipeline
from services.builds.pipeline.context import PipelineContext
from services.builds.pipeline.document.includes import IncludesRequired
from services.builds.pipeline.rules.repository_tree import RepositoryTree
from services.builds.planning.spec import SpecInvalid, SpecUnreadable, parse_spec

TIMEOUT_SECONDS, MAX_ATTEMPTS = 3600, 3  # values of a server with default settings
UNKNOWN_SHA = "0" * 40
LOCAL_URL = "http://127.0.0.1"


@dataclass(frozen=True, slots=True)
class FilePlan:
    jobs: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: str = ""


def plan_file(file: Path, ref: str, source: str, variables: list[str]) -> FilePlan:
    """Compile a file. `variables`: KEY=VALUE, available to rules like the secrets of a project.

    An invalid file gives a plan with `error`. Raises UsageError if the file cannot be read or a variable is invalid.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error
    try:
        if not is_pipeline(file.name):
            return FilePlan([_describe_spec(content)])
        pipeline = _compile(content, file, ref, source, variables)
    except (SpecInvalid, SpecUnreadable) as error:
        return FilePlan(error=str(error))
    return FilePlan([_describe_job(job) for job in pipeline.jobs], list(pipeline.warnings))


def _compile(content: bytes, file: Path, ref: str, source: str, variables: list[str]) -> Pipeline:
    folder = Path(_git(file.parent, "rev-parse", "--show-toplevel") or file.parent)
    branch = _git(folder, "rev-parse", "--abbrev-ref", "HEAD") or "main"
    full_ref = ref if ref.startswith("refs/") else f"refs/heads/{ref or branch}"
    context = PipelineContext(
        project=LaunchedProject(
            project_id=1,
            name=folder.name,
            owner_alias="owner",
            alias=folder.name,
            repository=str(folder),
            branch=branch,
            spec_file_path=f"/{file.name}",
        ),
        build_id=1,
        local_id=1,
        ref=full_ref,
        sha=_git(folder, "rev-parse", "HEAD") or UNKNOWN_SHA,
        url=LOCAL_URL,
        default_branch=_git(folder, "symbolic-ref", "--short", "refs/remotes/origin/HEAD").partition("/")[2] or branch,
        source=source,
        message=_git(folder, "log", "-1", "--format=%B"),
        secrets=dict(_parse_variable(text) for text in variables),
        tree=RepositoryTree(_list_files(folder), _list_changed_files(folder)),
    )
    while True:
        try:
            return compile_pipeline(content, context, TIMEOUT_SECONDS, MAX_ATTEMPTS)
        except IncludesRequired as required:
            contents = {path: _read_included(folder, path) for path in required.paths}
            context = replace(context, files={**context.files, **contents})


def _describe_spec(content: bytes) -> dict[str, Any]:
    spec = parse_spec(content)
    steps = [step.name for step in spec.steps]
    return {"name": "build", "stage": "build", "when": "on_success", "image": spec.image, "steps": steps}


def _describe_job(job: PlannedJob) -> dict[str, Any]:
    fields = job.model_dump(mode="json", include={"name", "stage", "when", "allow_failure", "needs", "tags"})
    return {**fields, "image": job.container.name if job.container else None, "script": list(job.commands)}


def _read_included(folder: Path, path: str) -> bytes | None:
    """Return the file's content. None if there is no such file, or if it is outside the repository."""
    found = (folder / path.lstrip("/")).resolve()
    return found.read_bytes() if found.is_relative_to(folder.resolve()) and found.is_file() else None


def _list_files(folder: Path) -> dict[str, str]:
    """Return the blob ids of the files in HEAD, by path. Empty without a repository."""
    entries = (line.split("\t", 1) for line in _git(folder, "ls-tree", "-r", "-z", "HEAD").split("\0") if line)
    return {path: entry.split()[2] for entry, path in entries}


def _list_changed_files(folder: Path) -> frozenset[str] | None:
    changed = _git(folder, "diff", "--name-only", "-z", "HEAD~1", "HEAD")
    return frozenset(filter(None, changed.split("\0"))) or None


def _git(folder: Path, *arguments: str) -> str:
    """Return the output of git, or an empty text where there is no repository or no git."""
    try:
        result = subprocess.run(("git", "-C", str(folder), *arguments), capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def _parse_variable(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise UsageError(f"{text!r} is not KEY=VALUE.")
    return name, value
