"""Functions that launch pipelines and act as the runner of their jobs."""

from textwrap import dedent

from contracts.builds import (
    Assignment,
    BuildRow,
)
from contracts.projects import CreateProject
from tests.support.external.repositories import commit_files
from tests.support.in_process.build_stage import BuildStage

SPEC = ".gitlab-ci.yml"


async def launch(stage: BuildStage, source: str, **settings: bool) -> int:
    commit_files(stage.repository, {SPEC: dedent(source)})
    settings = {"allow_concurrent_execution": True, **settings}
    command = CreateProject(
        name="pipelines",
        repository=str(stage.repository),
        branch="main",
        spec_file_path=f"/{SPEC}",
        executor_id=stage.executor_id,
        **settings,
    )
    return await stage.launch(int((await stage.send(command)).row["id"]))


async def job_statuses(stage: BuildStage, build_id: int) -> dict[str, str]:
    return {job.name: job.status for job in (await stage.get_build(build_id)).jobs}


async def run_job(stage: BuildStage, name: str, state: str = "success", **more: int) -> Assignment:
    job = await stage.claim()
    assert job.name == name
    await stage.report(job, state, **more)
    return job


async def wait_until_finished(stage: BuildStage, build_id: int) -> BuildRow:
    await stage.wait_until_ended(build_id)
    return await stage.get_build(build_id)
