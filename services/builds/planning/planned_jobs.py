"""Planned jobs of a build: the ids of pipeline jobs, and the only job of a build in Free Commit's format."""

from uuid import uuid4

from contracts.builds import BuildRow, PlannedJob, PlannedStep
from services.builds.planning.spec import Spec


def with_ids(build: BuildRow, job: PlannedJob, job_id: int, local_id: int) -> PlannedJob:
    steps = [PlannedStep(name=f"@{job.name}:script", script="")]
    if job.after_commands:
        steps.append(PlannedStep(name=f"@{job.name}:after_script", script="", after=True))
    return job.replace(
        job_id=job_id, job_uuid=str(uuid4()), local_id=local_id, steps=tuple(steps), delivery_id=build.delivery_id
    )


def single_job(build: BuildRow, spec: Spec, job_id: int, local_id: int) -> PlannedJob:
    """Return the only job of a Free Commit build. Its steps share variables and the working directory."""
    skipped = set(build.ignore_steps)
    return PlannedJob(
        job_id=job_id,
        job_uuid=str(uuid4()),
        name="build",
        local_id=local_id,
        steps=tuple(
            PlannedStep(
                name=step.name,
                script=step.script,
                skipped=step.name in skipped,
                on_kill=step.on_kill,
                timeout_seconds=step.timeout_seconds,
            )
            for step in spec.steps
        ),
        image=spec.image,
        timeout_seconds=build.timeout_seconds,
        max_attempts=build.max_attempts,
        delivery_id=build.delivery_id,
    )
