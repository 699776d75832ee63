"""A job as every GitLab-compatible runner reads it."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from contracts.builds import (
    ARCHIVE_TYPE,
    Assignment,
    Dependency,
    JobVariable,
    PlannedArtifacts,
    PlannedImage,
    RunnerDescription,
)
from gateway.adapters.gitlab.cache_keys import separate_caches, separate_fallback
from gateway.adapters.gitlab.webhook_variables import UNPACK_SCRIPT, create_body_variables, exceeds_variable_limit
from libs.git_env import add_credentials

FAILURE_REASONS = (
    "script_failure",
    "runner_system_failure",
    "job_execution_timeout",
    "image_pull_failure",
    "runner_configuration_error",
    "runner_external_dependency_failure",
    "runner_interrupted",
    "unknown_failure",
    "job_canceled",
)
NULL_SHA = "0" * 40
DEPTH_VALUE = re.compile(r"[0-9]{1,9}")  # git takes at most 2**31 - 1
CONFIG_PATH = ".headrace/job-comes-from-the-server.yml"  # must not exist in the repository


def build_job_payload(
    assignment: Assignment, offer: RunnerDescription | None, request_body: bytes = b"", *, quotes_files: bool = False
) -> dict[str, Any]:
    """Every key that one of the runners in use breaks without is here; unknown ones are ignored by all.

    `quotes_files`: the runner writes file variables with a shell, which takes long for large ones.
    """
    packed = quotes_files and exceeds_variable_limit(request_body)
    longest = offer.max_timeout_seconds if offer else None
    timeout = min(assignment.timeout_seconds, longest) if longest else assignment.timeout_seconds
    project = assignment.project
    path = f"{project.owner_alias}/{project.alias}"
    config = JobVariable(key="CI_CONFIG_PATH", value=CONFIG_PATH)  # whatever the project says: it comes last
    own = [separate_fallback(assignment, one) for one in assignment.variables]
    given = (*own, *create_body_variables(request_body, packed=packed), config)
    variables = {one.key: one for one in given}
    return {
        "id": assignment.job_id,
        "token": assignment.token,
        "allow_git_fetch": True,
        "job_info": {
            "name": assignment.name,
            "stage": assignment.stage,
            "pipeline_id": assignment.build_id,
            "project_id": project.project_id,
            "project_name": project.name,
            "project_full_path": path,
            "time_in_queue_seconds": max(0, int((datetime.now(UTC) - assignment.queued_at).total_seconds())),
            "project_jobs_running_on_instance_runners_count": "0",
        },
        "git_info": _git_info(assignment),
        "runner_info": {"timeout": timeout},
        "variables": list(map(_variable_to_json, variables.values())),
        "steps": list(_steps_to_json(assignment, timeout, (UNPACK_SCRIPT,) if packed else ())),
        "image": _image_to_json(assignment.container, assignment.image) if assignment.image else None,
        "services": [_image_to_json(one, one.name) for one in assignment.services],
        "artifacts": [_artifacts_to_json(assignment.artifacts)] if assignment.artifacts else None,
        "cache": [one.model_dump(mode="json") for one in separate_caches(assignment)],
        "credentials": [{"type": "registry", **one.model_dump()} for one in assignment.registry_logins],
        "dependencies": [_dependency_to_json(assignment, one) for one in assignment.dependencies],
        "traceparent": assignment.traceparent,
        "features": {"trace_sections": True, "failure_reasons": FAILURE_REASONS, "separate_caches": True},
    }


def _image_to_json(said: PlannedImage | None, name: str) -> dict[str, Any]:
    """What nothing was said about is left out."""
    more = said.model_dump(mode="json", exclude={"name", "variables"}) if said else {}
    own = [_variable_to_json(JobVariable(key=one.key, value=one.value)) for one in said.variables] if said else []
    return {"name": name, **{key: value for key, value in more.items() if value}, **({"variables": own} if own else {})}


def _artifacts_to_json(wanted: PlannedArtifacts) -> dict[str, Any]:
    """Runners know no more of a name that is null than of one that is missing."""
    named = {name: value for name, value in (("name", wanted.name), ("expire_in", wanted.expire_in)) if value}
    return {
        **named,
        "untracked": wanted.untracked,
        "paths": wanted.paths,
        "exclude": wanted.exclude,
        "when": wanted.when,
        "artifact_type": ARCHIVE_TYPE,
        "artifact_format": "zip",
    }


def _dependency_to_json(assignment: Assignment, one: Dependency) -> dict[str, Any]:
    """Of other jobs' tokens only hashes are kept: the runner fetches with its own."""
    file = {"filename": one.file_name, "size": one.size}
    return {"id": one.job_id, "name": one.name, "token": assignment.token, "artifacts_file": file}


def _steps_to_json(assignment: Assignment, timeout: int, before: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """`before` are lines that each script begins with."""
    yield {
        "name": "script",
        "script": [*before, *assignment.script],
        "timeout": timeout,
        "when": "on_success",
        "allow_failure": False,
    }
    if assignment.after_script:
        yield {
            "name": "after_script",
            "script": [*before, *assignment.after_script],
            "timeout": assignment.after_script_seconds,
            "when": "always",
            "allow_failure": True,
        }


def _git_info(assignment: Assignment) -> dict[str, Any]:
    """What to fetch: the planned commit by its hash where the server gives it so, which also works after a force-push.

    Runners fetch once, and one refspec that the server refuses fails all of it. So elsewhere it is the whole branch,
    with its whole history: nothing else brings a commit that is not the branch's head any more.
    """
    is_tag = assignment.ref.startswith("refs/tags/")
    name = _ref_name(assignment)
    by_hash = assignment.served_by_hash and not is_tag
    source = assignment.sha if by_hash else f"refs/heads/{name}"
    return {
        "repo_url": add_credentials(assignment.project.repository, assignment.repository_login),
        "ref": name,
        "sha": assignment.sha,
        "before_sha": assignment.before_sha or NULL_SHA,
        "ref_type": "tag" if is_tag else "branch",
        "refspecs": [f"+refs/tags/{name}:refs/tags/{name}" if is_tag else f"+{source}:refs/remotes/origin/{name}"],
        "depth": _fetch_depth(assignment) if by_hash else 0,
        "protected": assignment.protected,
    }


def _fetch_depth(assignment: Assignment) -> int:
    """The job's GIT_DEPTH; 0, the whole history, without a usable one."""
    wanted = next((one.value for one in reversed(assignment.variables) if one.key == "GIT_DEPTH"), "")
    return int(wanted) if DEPTH_VALUE.fullmatch(wanted) else 0


def _ref_name(assignment: Assignment) -> str:
    return assignment.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")


def _variable_to_json(one: JobVariable) -> dict[str, Any]:
    return {
        "key": one.key,
        "value": one.value,
        "public": not one.masked,
        "masked": one.masked,
        "file": one.file,
        "raw": one.raw,
    }
