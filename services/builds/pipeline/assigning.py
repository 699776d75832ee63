"""What a runner gets of a job: variables; of a pipeline's also image, services, artifacts, caches and the script."""

import json
import re
from collections.abc import Iterable, Mapping

from contracts.builds import (
    Assignment,
    BuildRow,
    JobRow,
    PlannedArtifacts,
    PlannedCache,
    PlannedImage,
    PlannedVariable,
    RunnerOffer,
    Variable,
)
from libs.markers import section_name
from services.builds.pipeline.equipment import POLICIES
from services.builds.pipeline.situation import situation
from services.builds.pipeline.variables import build_variables, expand, slug, with_meanings
from services.builds.script import compile_commands

Values = Mapping[str, str]

RUNNERS_OWN = ("CI_PROJECT_DIR", "CI_BUILDS_DIR")  # only the runner knows what they mean
ITS_PLACE = re.compile("\0([A-Z_]+)\0")  # where one of them stands in a value: no value has this character


def equipped(
    assignment: Assignment, build: BuildRow, job: JobRow, runner: RunnerOffer, word: str, url: str
) -> Assignment:
    """$NAMES are replaced where their meaning is known here; the runner may know the others."""
    meant = _meant(build, job, runner, url, assignment.token, assignment.variables)
    assignment = assignment.but(
        variables=tuple(map(_handed_on, meant.values())),
        before_sha=build.before_sha,
        protected=job.protected,
        served_by_hash=build.served_by_hash,
    )
    planned = job.planned
    if planned is None:
        return assignment
    values = {key: one.value if one.raw else ITS_PLACE.sub(r"$\1", one.value) for key, one in meant.items()}
    container = planned.container
    return assignment.but(
        script=compile_commands(planned.commands, section_name(word, 0), f"Script of {job.name}"),
        after_script=compile_commands(planned.after_commands, section_name(word, 1), f"After script of {job.name}"),
        image=expand(planned.image, values) if planned.image else None,
        container=_image(container, values) if container else None,
        services=tuple(_image(one, values) for one in planned.services),
        artifacts=_artifacts(planned.artifacts, values) if planned.artifacts else None,
        caches=tuple(_cache(one, values) for one in planned.caches),
    )


def job_variables(
    build: BuildRow, job: JobRow, runner: RunnerOffer, url: str, token: str, secrets: Iterable[Variable]
) -> dict[str, Variable]:
    """Those every job has, those of the spec file, the project's secrets; what holds a secret is none's to see."""
    return {key: _handed_on(one) for key, one in _meant(build, job, runner, url, token, secrets).items()}


def _handed_on(one: Variable) -> Variable:
    """The runner replaces what it alone knows, and nothing else."""
    return one if one.raw else one.but(value=ITS_PLACE.sub(r"${\1}", one.value.replace("$", "$$")))


def _meant(
    build: BuildRow, job: JobRow, runner: RunnerOffer, url: str, token: str, secrets: Iterable[Variable]
) -> dict[str, Variable]:
    """With marks where the runner's own variables stand."""
    secrets = tuple(secrets)
    image = (PlannedVariable(key="CI_JOB_IMAGE", value=job.image),) if job.image else ()
    named = (*image, *(job.planned.variables if job.planned else ()))
    known = build_variables(situation(build, job.ref, job.sha, url, build.default_branch, build.message)) | {
        "CI_JOB_ID": str(job.id),
        "CI_JOB_NAME": job.name,
        "CI_JOB_NAME_SLUG": slug(job.name),
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
    places = {name: f"\0{name}\0" for name in RUNNERS_OWN}
    meanings = with_meanings(places | known, [*named, *given])
    values = [one.value for one in secrets if one.value]
    own = {one.key for one in named}
    shown = {
        key: Variable(
            key=key,
            value=value,
            masked=key in own and any(secret in value for secret in values),
            raw=not ITS_PLACE.search(value),
        )
        for key, value in meanings.items()
        if key not in hidden and value != places.get(key)
    }
    job_token = Variable(key="CI_JOB_TOKEN", value=token, masked=True)
    return shown | {"CI_JOB_TOKEN": job_token} | hidden


def _image(image: PlannedImage, values: Values) -> PlannedImage:
    meanings = with_meanings(values, image.variables)
    own = tuple(PlannedVariable(key=one.key, value=meanings[one.key], expand=False) for one in image.variables)
    return image.but(name=expand(image.name, values), variables=own)


def _artifacts(wanted: PlannedArtifacts, values: Values) -> PlannedArtifacts:
    return wanted.but(
        name=expand(wanted.name, values) if wanted.name else None,
        paths=_each(wanted.paths, values),
        exclude=_each(wanted.exclude, values),
    )


def _cache(wanted: PlannedCache, values: Values) -> PlannedCache:
    return wanted.but(
        key=expand(wanted.key, values),
        policy=policy if (policy := expand(wanted.policy, values)) in POLICIES else POLICIES[0],
        paths=_each(wanted.paths, values),
        fallback_keys=_each(wanted.fallback_keys, values),
    )


def _each(texts: tuple[str, ...], values: Values) -> tuple[str, ...]:
    return tuple(expand(text, values) for text in texts)
