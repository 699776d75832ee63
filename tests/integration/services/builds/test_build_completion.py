"""The end of a build is recorded in the commit of its last job."""

from uuid import uuid4

import pytest
from nats.aio.client import Client
from pymongo.asynchronous.database import AsyncDatabase

from contracts.builds import BuildRow, JobStatus, PlannedJob
from libs.clock import now
from libs.documents import Document
from libs.eventstore.decider import AnyCommand, CommandMetadata
from libs.settings import Settings
from services.builds.domain.internal_commands import AssignJob, FinishJob, LaunchBuild, PlanBuild, StartJob
from tests.support.in_process.dispatch_stage import DispatchReplica, dispatch_replicas, launched_project

SHA = "f" * 40


async def execute(replica: DispatchReplica, command: AnyCommand) -> list[str]:
    """Execute the command and wait for its reactions. Return the names of the events in its commit."""
    result = await replica.runtime.execute(command, CommandMetadata(uuid4().hex, now()))
    await replica.runtime.finish(5)
    return [recorded.event.wire_name for recorded in result.new_events]


async def start_build(replica: DispatchReplica, job_ids: list[int]) -> None:
    launch = LaunchBuild(
        project_id=1,
        build_id=1,
        local_id=1,
        executor_id="executor-1",
        queued_at=now(),
        project=launched_project(1),
        initiator_id=1,
    )
    jobs = tuple(PlannedJob(job_id=id_, job_uuid=str(uuid4()), name=f"job {id_}") for id_ in job_ids)
    await execute(replica, launch)
    await execute(replica, PlanBuild(build_id=1, sha=SHA, ref="main", available_steps=(), jobs=jobs))
    for id_ in job_ids:
        assign = AssignJob(
            job_id=id_, attempt=1, runner_id=1, runner_uuid="r", runner_name="miller", token_hash=f"token-{id_}"
        )
        await execute(replica, assign)
        await execute(replica, StartJob(job_id=id_, attempt=1))


@pytest.mark.parametrize("replica_count", [1, 2])
async def test_a_build_finishes_in_the_commit_of_its_last_job(
    settings: Settings, database: AsyncDatabase[Document], bus: Client, replica_count: int
) -> None:
    async with dispatch_replicas(settings, database, bus, replicas=replica_count) as replicas:
        await start_build(replicas[0], [1, 2])
        finishing = replicas[-1]  # with two replicas, it has not seen the build before
        ends = [
            await execute(finishing, FinishJob(job_id=id_, attempt=1, status=JobStatus.SUCCESS, exit_code=0))
            for id_ in (1, 2)
        ]
        build = await finishing.context.read_model(BuildRow).get("build-1")
    assert ends[0][0] == ends[1][0] == "JobFinished"
    assert ("BuildFinished" in ends[0], "BuildFinished" in ends[1]) == (False, True)
    assert build is not None
    assert build.finished
