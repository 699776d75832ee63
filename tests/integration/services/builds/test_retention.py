"""Retention of builds and the purge of their data, with builds and projects on real servers."""

from collections.abc import AsyncIterator

import pytest

from contracts.builds import (
    DeleteBuild,
    GetBuild,
    GetJob,
    GetLogSection,
    ListQueuedBuilds,
    ListRunningBuilds,
    QueueBuild,
)
from contracts.messages import Page
from contracts.projects import ChangeRetention, DeleteProject
from services.builds import projections
from services.builds.execution import recent_ends
from tests.support.external.repositories import create_sample_repository
from tests.support.in_process.build_stage import BuildStage, build_stage
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import eventually_equal

NO_BUILDS: list[int] = []


@pytest.fixture(scope="module")
async def stage(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BuildStage]:
    folder = tmp_path_factory.mktemp("site")
    repository = create_sample_repository(folder / "repository", {"build": "make", "@b": "make"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recent_ends, "READABLE_SECONDS", 0.5)  # how long a finished build is kept
        async with build_stage(servers, folder, repository) as running:
            yield running


async def count_attempts_and_jobs(stage: BuildStage, build_id: int) -> tuple[int, int]:
    jobs = {f"job_v{projections.job_category.row_version}.build_id": build_id}
    return await stage.count_documents("attempts", {"build_id": build_id}), await stage.count_documents("streams", jobs)


async def test_retention_keeps_only_the_newest_builds(stage: BuildStage) -> None:
    project_id = await stage.create_project(keep_number_build=2)
    first, second, third = [await stage.run_build(project_id) for _ in range(3)]
    await eventually_equal(lambda: stage.list_build_ids(project_id), [second, third])
    assert await stage.get_error_code(GetBuild(build_id=first)) == "BUILD_NOT_FOUND"
    assert await stage.get_error_code(GetLogSection(build_id=first, step="-1")) == "BUILD_NOT_FOUND"


async def test_retention_purges_attempts_and_rows_and_keeps_the_event_log(stage: BuildStage) -> None:
    project_id = await stage.create_project(keep_number_build=0)
    build_id = await stage.run_build(project_id, b"some output\n")
    await eventually_equal(lambda: count_attempts_and_jobs(stage, build_id), (0, 0))
    await eventually_equal(lambda: stage.list_build_ids(project_id), NO_BUILDS)
    assert await stage.count_documents("commits", {"stream": f"build-{build_id}"}) > 0


async def test_a_changed_retention_applies_when_the_next_build_ends(stage: BuildStage) -> None:
    project_id = await stage.create_project(keep_number_build=None)
    await stage.run_build(project_id)
    second = await stage.run_build(project_id)
    await stage.send(ChangeRetention(project_id=project_id, keep_number_build=2))
    assert len(await stage.list_build_ids(project_id)) == 2
    third = await stage.run_build(project_id)
    await eventually_equal(lambda: stage.list_build_ids(project_id), [second, third])


async def test_retention_uses_the_setting_at_the_end_of_the_build(stage: BuildStage) -> None:
    project_id = await stage.create_project(keep_number_build=0)
    build_id = await stage.launch(project_id)
    job = await stage.claim()
    await stage.send(ChangeRetention(project_id=project_id, keep_number_build=None))
    await stage.report(job, "success")
    await stage.wait_until_ended(build_id)
    after = await stage.run_build(await stage.create_project(keep_number_build=0))
    # builds are purged in the order of their ends, so the earlier one is purged first
    await eventually_equal(lambda: count_attempts_and_jobs(stage, after), (0, 0))
    assert await stage.list_build_ids(project_id) == [build_id]


async def test_a_build_that_could_not_be_planned_does_not_count_for_retention(stage: BuildStage) -> None:
    project_id = await stage.create_project(keep_number_build=1)
    good = await stage.run_build(project_id)
    bad = await stage.launch(project_id, sha="0" * 40)
    await stage.wait_until_ended(bad)
    after = await stage.run_build(await stage.create_project(keep_number_build=0))
    await eventually_equal(lambda: count_attempts_and_jobs(stage, after), (0, 0))
    assert await stage.list_build_ids(project_id) == [good, bad]
    newest = await stage.run_build(project_id)
    await eventually_equal(lambda: stage.list_build_ids(project_id), [newest])


async def test_only_finished_builds_can_be_deleted(stage: BuildStage) -> None:
    project_id = await stage.create_project()
    first, second = [await stage.run_build(project_id) for _ in range(2)]
    waiting = await stage.launch(project_id)
    assert await stage.get_error_code(DeleteBuild(build_id=waiting)) == "BUILD_STATUS"
    await stage.send(DeleteBuild(build_id=second))
    assert await stage.list_build_ids(project_id) == [first]
    assert await stage.get_error_code(DeleteBuild(build_id=second)) == "BUILD_NOT_FOUND"
    assert await stage.get_error_code(DeleteBuild(build_id=10**9)) == "BUILD_NOT_FOUND"
    await stage.report(await stage.claim(), "success")
    await eventually_equal(lambda: count_attempts_and_jobs(stage, second), (0, 0))


async def count_unfinished_builds(stage: BuildStage) -> int:
    answers = [await stage.caller.query(query) for query in (ListQueuedBuilds(), ListRunningBuilds())]
    return sum(len(Page.model_validate_json(answer).rows) for answer in answers)


@pytest.mark.parametrize("concurrent", [True, False])
async def test_deleting_a_project_deletes_all_its_builds(stage: BuildStage, concurrent: bool) -> None:
    project_id = await stage.create_project(allow_concurrent_execution=concurrent)
    over = await stage.run_build(project_id)
    running = await stage.launch(project_id)
    job = await stage.claim()
    await stage.append_log(job, 0, b"half a log")
    waiting = [await stage.launch(project_id) for _ in range(2)]
    await stage.send(DeleteProject(project_id=project_id))
    await eventually_equal(lambda: count_unfinished_builds(stage), 0)
    await eventually_equal(lambda: stage.list_build_ids(project_id), NO_BUILDS)
    for build_id in (over, running, *waiting):
        await eventually_equal(lambda: count_attempts_and_jobs(stage, build_id), (0, 0))  # noqa: B023
    assert await stage.get_error_code(GetJob(job_id=job.job_id)) == "JOB_NOT_FOUND"
    assert await stage.get_error_code(QueueBuild(project_id=project_id)) == "PROJECT_NOT_FOUND"
