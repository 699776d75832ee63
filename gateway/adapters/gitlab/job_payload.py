"""The job payload of GitLab's runner protocol."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from contracts.builds import (
    ARCHIVE_TYPE,
    JUNIT_TYPE,
    Assignment,
    Dependency,
    JobVariable,
    PlannedArtifacts,
    PlannedImage,
    PlannedReports,
    RunnerDescription,
)
from gateway.adapters.gitlab.cache_keys import separate_caches, separate_fallback
from gateway.adapters.gitlab.webhook_variables import UNPACK_SCRIPT, create_body_variables, exceeds_variable_limit
from libs.branch_names import is_pull_request_ref
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
JUNIT_NAME = "junit.xml"  # the name that GitLab uses; runners add `.gz`
NULL_SHA = "0" * 40
DEFAULT_DEPTH = 20  # commits, as in GitLab
DEPTH_VALUE = re.compile(r"[0-9]{1,9}")  # valid GIT_DEPTH; git accepts at most 2**31 - 1
CONFIG_PATH = ".headrace/job-comes-from-the-server.yml"  # value of CI_CONFIG_PATH, a file that no repository has


def build_job_payload(
    assignment: Assignment, runner: RunnerDescription | None, webhook_body: bytes = b"", *, quotes_files: bool = False
) -> dict[str, Any]:
    """Build the payload of an assigned job.

    The payload has every key that any known runner requires; runners ignore unknown keys. `quotes_files`: the runner
    writes file variables with a shell script, which is slow for large values.
    """
    packed = quotes_files and exceeds_variable_limit(webhook_body)
    runner_limit = runner.max_timeout_seconds if runner else None
    timeout = min(assignment.timeout_seconds, runner_limit) if runner_limit else assignment.timeout_seconds
    project = assignment.project
    path = f"{project.owner_alias}/{project.alias}"
    # sent last, so that it overrides a variable of the project
    config = JobVariable(key="CI_CONFIG_PATH", value=CONFIG_PATH)
    planned = [separate_fallback(assignment, variable) for variable in assignment.variables]
    sent = (*planned, *create_body_variables(webhook_body, packed=packed), config)
    variables = {variable.key: variable for variable in sent}
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
        "services": [_image_to_json(service, service.name) for service in assignment.services],
        "artifacts": [*_iterate_artifacts(assignment)] or None,
        "cache": [cache.model_dump(mode="json") for cache in separate_caches(assignment)],
        "credentials": [{"type": "registry", **login.model_dump()} for login in assignment.registry_logins],
        "dependencies": [_dependency_to_json(assignment, dependency) for dependency in assignment.dependencies],
        "traceparent": assignment.traceparent,
        "features": {
            "trace_sections": True,
            "failure_reasons": FAILURE_REASONS,
            "separate_caches": True,
            "log_end": True,
        },
    }


def _image_to_json(image: PlannedImage | None, name: str) -> dict[str, Any]:
    settings = image.model_dump(mode="json", exclude={"name", "variables"}) if image else {}
    planned = image.variables if image else ()
    variables = [_variable_to_json(JobVariable(key=variable.key, value=variable.value)) for variable in planned]
    return {
        "name": name,
        **{key: value for key, value in settings.items() if value},
        **({"variables": variables} if variables else {}),
    }


def _iterate_artifacts(assignment: Assignment) -> Iterator[dict[str, Any]]:
    if assignment.artifacts:
        yield _artifacts_to_json(assignment.artifacts)
    if assignment.reports:
        yield _junit_to_json(assignment.reports)


def _junit_to_json(reports: PlannedReports) -> dict[str, Any]:
    """Return the JUnit reports as JSON. As at GitLab, they are uploaded whatever the result of the job."""
    return {
        "name": JUNIT_NAME,
        **({"expire_in": reports.expire_in} if reports.expire_in else {}),
        "untracked": False,
        "paths": reports.junit,
        "exclude": (),
        "when": "always",
        "artifact_type": JUNIT_TYPE,
        "artifact_format": "gzip",
    }


def _artifacts_to_json(artifacts: PlannedArtifacts) -> dict[str, Any]:
    """Return the artifact settings as JSON. Name and expiry are omitted if unset: runners treat null as missing."""
    optional = {name: value for name, value in (("name", artifacts.name), ("expire_in", artifacts.expire_in)) if value}
    return {
        **optional,
        "untracked": artifacts.untracked,
        "paths": artifacts.paths,
        "exclude": artifacts.exclude,
        "when": artifacts.when,
        "artifact_type": ARCHIVE_TYPE,
        "artifact_format": "zip",
    }


def _dependency_to_json(assignment: Assignment, dependency: Dependency) -> dict[str, Any]:
    """Return a dependency as JSON, with the token of the assigned job: only hashes of other tokens are stored."""
    file = {"filename": dependency.file_name, "size": dependency.size}
    return {"id": dependency.job_id, "name": dependency.name, "token": assignment.token, "artifacts_file": file}


def _steps_to_json(assignment: Assignment, timeout: int, before: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield the script and the after-script; `before` are lines added at the beginning of each."""
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
    """Return what the runner fetches: the tag, the commit by its hash, or its ref if the server refuses hashes.

    By its hash, a commit is found even after a force-push. A runner fetches once, and one refused refspec fails the
    fetch. For servers that refuse hashes, the refspec is therefore the branch with its full history, which contains the
    commit even if it is no longer the branch's head.
    """
    is_tag = assignment.ref.startswith("refs/tags/")
    name = _ref_name(assignment)
    by_hash = assignment.served_by_hash and not is_tag
    is_request = is_pull_request_ref(assignment.ref)
    source = assignment.sha if by_hash else assignment.ref if is_request else f"refs/heads/{name}"
    target = assignment.ref if is_request else f"refs/remotes/origin/{name}"
    return {
        "repo_url": add_credentials(assignment.project.repository, assignment.repository_login),
        "ref": name,
        "sha": assignment.sha,
        "before_sha": assignment.before_sha or NULL_SHA,
        "ref_type": "tag" if is_tag else "branch",
        "refspecs": [f"+refs/tags/{name}:refs/tags/{name}" if is_tag else f"+{source}:{target}"],
        "depth": _fetch_depth(assignment) if by_hash else 0,
        "protected": assignment.protected,
    }


def _fetch_depth(assignment: Assignment) -> int:
    """Return the job's GIT_DEPTH (0: full history), or DEFAULT_DEPTH if it is unset or invalid."""
    depth = next((variable.value for variable in reversed(assignment.variables) if variable.key == "GIT_DEPTH"), "")
    return int(depth) if DEPTH_VALUE.fullmatch(depth) else DEFAULT_DEPTH


def _ref_name(assignment: Assignment) -> str:
    return assignment.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")


def _variable_to_json(variable: JobVariable) -> dict[str, Any]:
    return {
        "key": variable.key,
        "value": variable.value,
        "public": not variable.masked,
        "masked": variable.masked,
        "file": variable.file,
        "raw": variable.raw,
    }
