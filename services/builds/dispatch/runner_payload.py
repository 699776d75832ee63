"""What a runner gets of a job: variables; of a pipeline's also image, services, artifacts, caches and the script."""

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
    PlannedVariable,
    RunnerDescription,
)
from libs.section_markers import format_section_name
from services.builds.execution.script import compile_commands
from services.builds.pipeline.context import create_context
from services.builds.pipeline.keywords.job_resources import CACHE_POLICIES
from services.builds.pipeline.variables import build_variables, expand, expand_variables, to_slug

Values = Mapping[str, str]

RUNNER_VARIABLES = ("CI_PROJECT_DIR", "CI_BUILDS_DIR")  # only the runner knows what they mean
PLACEHOLDER = re.compile("\0([A-Z_]+)\0")  # where one of them stands in a value: no value has this character


def with_pipeline_config(
    assignment: Assignment, build: BuildRow, job: JobRow, runner: RunnerDescription, nonce: str, url: str
) -> Assignment:
    """$NAMES are replaced where their meaning is known here; the runner may know the others."""
    meant = _resolve_variables(build, job, runner, url, assignment.token, assignment.variables)
    assignment = assignment.replace(
        variables=tuple(map(_escape_for_runner, meant.values())),
        before_sha=build.before_sha,
        protected=job.protected,
        served_by_hash=build.served_by_hash,
    )
    planned = job.planned
    if planned is None:
        return assignment
    values = {key: one.value if one.raw else PLACEHOLDER.sub(r"$\1", one.value) for key, one in meant.items()}
    container = planned.container
    return assignment.replace(
        script=compile_commands(planned.commands, format_section_name(nonce, 0), f"Script of {job.name}"),
        after_script=compile_commands(
            planned.after_commands, format_section_name(nonce, 1), f"After script of {job.name}"
        ),
        image=expand(planned.image, values) if planned.image else None,
        container=_expand_image(container, values) if container else None,
        services=tuple(_expand_image(one, values) for one in planned.services),
        artifacts=_expand_artifacts(planned.artifacts, values) if planned.artifacts else None,
        caches=tuple(_expand_cache(one, values) for one in planned.caches),
    )


def job_variables(
    build: BuildRow, job: JobRow, runner: RunnerDescription, url: str, token: str, secrets: Iterable[JobVariable]
) -> dict[str, JobVariable]:
    """Those every job has, those of the spec file, the project's secrets; what holds a secret is none's to see."""
    return {
        key: _escape_for_runner(one) for key, one in _resolve_variables(build, job, runner, url, token, secrets).items()
    }


def _escape_for_runner(one: JobVariable) -> JobVariable:
    """The runner replaces what it alone knows, and nothing else."""
    return one if one.raw else one.replace(value=PLACEHOLDER.sub(r"${\1}", one.value.replace("$", "$$")))


def _resolve_variables(
    build: BuildRow, job: JobRow, runner: RunnerDescription, url: str, token: str, secrets: Iterable[JobVariable]
) -> dict[str, JobVariable]:
    """With marks where the runner's own variables stand."""
    secrets = tuple(secrets)
    image = (PlannedVariable(key="CI_JOB_IMAGE", value=job.image),) if job.image else ()
    named = (*image, *(job.planned.variables if job.planned else ()))
    known = build_variables(create_context(build, job.ref, job.sha, url, build.default_branch, build.message)) | {
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
    hidden = {one.key: one for one in secrets}
    given = [PlannedVariable(key=one.key, value=one.value, expand=False) for one in secrets if not one.file]
    places = {name: f"\0{name}\0" for name in RUNNER_VARIABLES}
    meanings = expand_variables(places | known, [*named, *given])
    values = [one.value for one in secrets if one.value]
    own = {one.key for one in named}
    shown = {
        key: JobVariable(
            key=key,
            value=value,
            masked=key in own and any(secret in value for secret in values),
            raw=not PLACEHOLDER.search(value),
        )
        for key, value in meanings.items()
        if key not in hidden and value != places.get(key)
    }
    job_token = JobVariable(key="CI_JOB_TOKEN", value=token, masked=True)
    return shown | {"CI_JOB_TOKEN": job_token} | hidden


def _expand_image(image: PlannedImage, values: Values) -> PlannedImage:
    meanings = expand_variables(values, image.variables)
    own = tuple(PlannedVariable(key=one.key, value=meanings[one.key], expand=False) for one in image.variables)
    return image.replace(name=expand(image.name, values), variables=own)


def _expand_artifacts(wanted: PlannedArtifacts, values: Values) -> PlannedArtifacts:
    return wanted.replace(
        name=expand(wanted.name, values) if wanted.name else None,
        paths=_expand_all(wanted.paths, values),
        exclude=_expand_all(wanted.exclude, values),
    )


def _expand_cache(wanted: PlannedCache, values: Values) -> PlannedCache:
    return wanted.replace(
        key=expand(wanted.key, values),
        policy=policy if (policy := expand(wanted.policy, values)) in CACHE_POLICIES else CACHE_POLICIES[0],
        paths=_expand_all(wanted.paths, values),
        fallback_keys=_expand_all(wanted.fallback_keys, values),
    )


def _expand_all(texts: tuple[str, ...], values: Values) -> tuple[str, ...]:
    return tuple(expand(text, values) for text in texts)
