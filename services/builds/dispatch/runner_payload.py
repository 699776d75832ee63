"""Payload for the runner: variables of any job, and scripts, images, artifacts and caches of a pipeline job."""

import json
import re
from collections.abc import Iterable, Mapping

from contracts.builds import (
    Assignment,
    BuildRow,
    JobRow,
    JobVariable,
    PlannedArtifacts,
    PlannedCache,
    PlannedImage,
    PlannedReports,
    PlannedVariable,
    RunnerDescription,
)
from libs.section_markers import format_section_name
from services.builds.dispatch.job_secrets import is_trusted
from services.builds.execution.script import compile_commands
from services.builds.pipeline.context import create_context
from services.builds.pipeline.keywords.job_resources import CACHE_POLICIES
from services.builds.pipeline.variables import build_variables, expand, expand_variables, launch_variables, to_slug

Values = Mapping[str, str]

RUNNER_VARIABLES = ("CI_PROJECT_DIR", "CI_BUILDS_DIR")  # only the runner knows their values
PLACEHOLDER = re.compile("\0([A-Z_]+)\0")  # stands for a runner variable in a value; other values never contain NUL


def with_pipeline_config(
    assignment: Assignment, build: BuildRow, job: JobRow, runner: RunnerDescription, nonce: str, url: str
) -> Assignment:
    """Add variables and pipeline configuration to the assignment. References to unknown variables stay unexpanded."""
    variables = _resolve_variables(build, job, runner, url, assignment.token, assignment.variables)
    assignment = assignment.replace(
        variables=tuple(map(_escape_for_runner, variables.values())),
        before_sha=build.before_sha,
        protected=job.protected,
        served_by_hash=build.served_by_hash,
    )
    planned = job.planned
    if planned is None:
        return assignment
    values = {
        key: variable.value if variable.raw else PLACEHOLDER.sub(r"$\1", variable.value)
        for key, variable in variables.items()
    }
    container = planned.container
    return assignment.replace(
        script=compile_commands(planned.commands, format_section_name(nonce, 0), f"Script of {job.name}"),
        after_script=compile_commands(
            planned.after_commands, format_section_name(nonce, 1), f"After script of {job.name}"
        ),
        image=expand(planned.image, values) if planned.image else None,
        container=_expand_image(container, values) if container else None,
        services=tuple(_expand_image(service, values) for service in planned.services),
        artifacts=_expand_artifacts(planned.artifacts, values) if planned.artifacts else None,
        reports=_expand_reports(planned.reports, values) if planned.reports else None,
        # untrusted builds have no caches, because other builds would restore the files that a fork has saved
        caches=tuple(_expand_cache(cache, values) for cache in planned.caches) if is_trusted(build, job.ref) else (),
    )


def _escape_for_runner(variable: JobVariable) -> JobVariable:
    """Escape a value so that the runner expands nothing but its own variables."""
    if variable.raw:
        return variable
    return variable.replace(value=PLACEHOLDER.sub(r"${\1}", variable.value.replace("$", "$$")))


def _resolve_variables(
    build: BuildRow, job: JobRow, runner: RunnerDescription, url: str, token: str, secrets: Iterable[JobVariable]
) -> dict[str, JobVariable]:
    """Return all variables of a job: predefined variables, the spec file's, the launch's, and secrets.

    Each of these overrides the ones before it. A variable of the spec file or of the launch is marked as masked if its
    value contains a secret. The values are expanded, with placeholders for the runner's own variables.
    """
    secrets = tuple(secrets)
    image = (PlannedVariable(key="CI_JOB_IMAGE", value=job.image),) if job.image else ()
    # references in values are a feature of pipelines; jobs of Free Commit's format get the values as they are
    given = launch_variables(build.variables, expand=job.planned is not None)
    declared = (*image, *(job.planned.variables if job.planned else ()), *given)
    predefined = build_variables(create_context(build, job.ref, job.sha, url, build.default_branch, build.message)) | {
        "CI_JOB_ID": str(job.id),
        "CI_JOB_NAME": job.name,
        "CI_JOB_NAME_SLUG": to_slug(job.name),
        "CI_JOB_STAGE": job.stage,
        "CI_JOB_URL": f"{url}/api/developer/builds/{job.build_id}/jobs",
        "CI_JOB_TIMEOUT": str(job.timeout_seconds),
        "CI_JOB_MANUAL": "true" if job.planned and job.planned.when == "manual" else "false",
        "CI_RUNNER_ID": str(runner.runner_id),
        "CI_RUNNER_DESCRIPTION": runner.name,
        "CI_RUNNER_TAGS": json.dumps(runner.tags),
    }
    secret_variables = {secret.key: secret for secret in secrets}
    unexpanded = [
        PlannedVariable(key=secret.key, value=secret.value, expand=False) for secret in secrets if not secret.file
    ]
    placeholders = {name: f"\0{name}\0" for name in RUNNER_VARIABLES}
    expanded = expand_variables(placeholders | predefined, [*declared, *unexpanded])
    secret_values = [secret.value for secret in secrets if secret.value]
    declared_names = {variable.key for variable in declared}
    variables = {
        key: JobVariable(
            key=key,
            value=value,
            masked=key in declared_names and any(secret in value for secret in secret_values),
            raw=not PLACEHOLDER.search(value),
        )
        for key, value in expanded.items()
        if key not in secret_variables and value != placeholders.get(key)
    }
    job_token = JobVariable(key="CI_JOB_TOKEN", value=token, masked=True)
    return variables | {"CI_JOB_TOKEN": job_token} | secret_variables


def _expand_image(image: PlannedImage, values: Values) -> PlannedImage:
    expanded = expand_variables(values, image.variables)
    variables = tuple(
        PlannedVariable(key=variable.key, value=expanded[variable.key], expand=False) for variable in image.variables
    )
    return image.replace(name=expand(image.name, values), variables=variables)


def _expand_artifacts(artifacts: PlannedArtifacts, values: Values) -> PlannedArtifacts:
    return artifacts.replace(
        name=expand(artifacts.name, values) if artifacts.name else None,
        paths=_expand_all(artifacts.paths, values),
        exclude=_expand_all(artifacts.exclude, values),
    )


def _expand_reports(reports: PlannedReports, values: Values) -> PlannedReports:
    return reports.replace(junit=_expand_all(reports.junit, values))


def _expand_cache(cache: PlannedCache, values: Values) -> PlannedCache:
    return cache.replace(
        key=expand(cache.key, values),
        policy=policy if (policy := expand(cache.policy, values)) in CACHE_POLICIES else CACHE_POLICIES[0],
        paths=_expand_all(cache.paths, values),
        fallback_keys=_expand_all(cache.fallback_keys, values),
    )


def _expand_all(texts: tuple[str, ...], values: Values) -> tuple[str, ...]:
    return tuple(expand(text, values) for text in texts)
