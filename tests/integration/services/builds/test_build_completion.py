"""The end of a build is recorded in the commit of its last job."""

from uuid import uuid4

import pytest
from nats.aio.client import Client
from pymongo.asynchronous.database import AsyncDatabase

from contracts.builds import BuildRow, ConcurrencyGroupRow, JobStatus, LaunchedProject, PlannedJob
from libs.clock import now
from libs.documents import Document
from libs.eventstore.decider import AnyCommand, CommandMetadata
from libs.settings import Settings
from services.builds.domain.internal_commands import (
    AssignJob,
    FinishJob,
    LaunchBuild,
    PlanBuild,
    RequestConcurrencySlot,
    StartJob,
    StopBuild,
)
from services.builds.planning.planner import Planner
from tests.support.in_process.dispatch_stage import DispatchReplica, dispatch_replicas, launched_project
from tests.support.waiting import WITHIN_SECONDS

SHA = "f" * 40


async def execute(replica: DispatchReplica, command: AnyCommand) -> list[str]:
    """Execute the command and wait for its reactions. Return the names of the events in its commit."""
    result = await replica.runtime.execute(command, CommandMetadata(uuid4().hex, now()))
    await replica.runtime.finish(WITHIN_SECONDS)
    return [recorded.event.wire_name for recorded in result.new_events]


def launch_command(build_id: int, project: LaunchedProject) -> LaunchBuild:
    return LaunchBuild(
        project_id=project.project_id,
        build_id=build_id,
        local_id=build_id,
        executor_id=f"executor-{build_id}",
        queued_at=now(),
        project=project,
        initiator_id=1,
    )


async def start_build(replica: DispatchReplica, job_ids: list[int]) -> None:
    launch = launch_command(1, launched_project(1))
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
        finishing = replicas[-1]  # with two replicas, the last one has not seen the build before
        ends = [
            await execute(finishing, FinishJob(job_id=id_, attempt=1, status=JobStatus.SUCCESS, exit_code=0))
            for id_ in (1, 2)
        ]
        build = await finishing.context.read_model(BuildRow).get("build-1")
    assert ends[0][0] == ends[1][0] == "JobFinished"
    assert ("BuildFinished" in ends[0], "BuildFinished" in ends[1]) == (False, True)
    assert build is not None
    assert build.finished


async def test_a_slot_that_a_finished_build_gets_goes_to_the_next_build(
    settings: Settings, database: AsyncDatabase[Document], bus: Client
) -> None:
    project = launched_project(1).replace(allow_concurrent_execution=False)
    async with dispatch_replicas(settings, database, bus, replicas=2) as (first, second):
        await execute(first, launch_command(1, project))
        await execute(first, StopBuild(1))
        late_request = CommandMetadata(uuid4().hex, now())
        [granted] = (await first.runtime.execute(RequestConcurrencySlot(1, 1, 1), late_request)).new_events
        await execute(first, launch_command(2, project))
        await Planner().plan_build(second.context, granted)  # the second replica reads the state from the row
        group = await first.context.read_model(ConcurrencyGroupRow).get("lane-1")
    assert group == ConcurrencyGroupRow(project_id=1, holder=2, holder_version=1)
