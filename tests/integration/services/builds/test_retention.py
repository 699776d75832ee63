"""Retention of builds and the purge of their data, with builds and projects on real servers."""

from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial

import pytest
from opentelemetry.metrics import get_meter

from contracts.builds import (
    AppendArtifactUpload,
    ArtifactUpload,
    DeleteBuild,
    FinishArtifactUpload,
    GetBuild,
    GetJob,
    GetLogSection,
    ListQueuedBuilds,
    ListRunningBuilds,
    LogSection,
    QueueBuild,
    StartArtifactUpload,
)
from contracts.messages import Page
from contracts.projects import ChangeRetention, ChangeRetentionLimits, DeleteProject
from libs.clock import now
from libs.observability.metrics import Metrics
from libs.service.connections import create_vault
from libs.service.runtime import Runtime
from libs.settings import RetentionSettings
from services.builds import projections
from services.builds.app import service
from services.builds.execution import recent_ends
from services.builds.retention import data_removal
from tests.support.external.repositories import create_sample_repository
from tests.support.in_process.build_stage import BuildStage, build_stage
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import WITHIN_SECONDS, eventually_equal

NO_BUILDS: list[int] = []


@pytest.fixture(scope="module")
async def stage(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BuildStage]:
    folder = tmp_path_factory.mktemp("site")
    repository = create_sample_repository(folder / "repository", {"build": "make", "@b": "make"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recent_ends, "READABLE_SECONDS", 0.5)  # how long the live log of a finished build is readable
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
    await stage.wait_until_retention_applied(build_id)
    assert await stage.list_build_ids(project_id) == [build_id]


async def test_a_build_that_could_not_be_planned_does_not_count_for_retention(stage: BuildStage) -> None:
    project_id = await stage.create_project(keep_number_build=1)
    good = await stage.run_build(project_id)
    # afterwards, because the end of a build deletes all that never ran
    await stage.wait_until_retention_applied(good)
    bad = await stage.launch(project_id, sha="0" * 40)
    await stage.wait_until_ended(bad)
    await stage.wait_until_retention_applied(bad)
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


async def enforce(stage: BuildStage, **limits: int) -> None:
    """Run the periodic task that removes old data once, with these limits."""
    settings = stage.stage.settings.model_copy(update={"retention": RetentionSettings(**limits)})
    vault = create_vault(stage.database, settings)
    async with stage.stage.connected() as bus:
        runtime = Runtime(service, settings, stage.database, bus, vault, Metrics.create(get_meter("test")))
        await data_removal.enforce_limits(runtime.background_context("age_limits"))
        await runtime.finish(WITHIN_SECONDS)


async def make_older(stage: BuildStage, build_id: int, days: int) -> None:
    completed_at = f"build_v{projections.build_category.row_version}.completed_at"
    change = {"$set": {completed_at: now() - timedelta(days=days)}}
    assert (await stage.database["streams"].update_one({"_id": f"build-{build_id}"}, change)).modified_count


async def test_builds_older_than_the_limit_are_deleted_in_every_project(stage: BuildStage) -> None:
    projects = [await stage.create_project() for _ in range(2)]
    builds = [[await stage.run_build(project) for _ in range(2)] for project in projects]
    for old, _ in builds:
        await make_older(stage, old, days=31)
    await enforce(stage, build_days=30)
    for project, (old, recent) in zip(projects, builds, strict=True):
        await eventually_equal(partial(stage.list_build_ids, project), [recent])
        assert await stage.get_error_code(GetBuild(build_id=old)) == "BUILD_NOT_FOUND"
    await enforce(stage)
    assert await stage.list_build_ids(projects[0]) == [builds[0][1]]


async def test_logs_older_than_the_limit_are_replaced_by_a_notice(stage: BuildStage) -> None:
    project = await stage.create_project()
    old, recent = [await stage.run_build(project, b"some output\n") for _ in range(2)]
    await make_older(stage, old, days=11)
    for _ in range(2):  # a second run changes nothing
        await stage.database[data_removal.LOG_PROGRESS].delete_many({})
        await enforce(stage, log_days=10)
    texts = [await read_first_section(stage, build_id) for build_id in (old, recent)]
    assert texts == ["The log was removed: logs are kept for 10 days.", "some output"]


async def test_limits_of_a_project_replace_those_of_the_server(stage: BuildStage) -> None:
    project = await stage.create_project()
    builds = [await stage.run_build(project, b"some output\n") for _ in range(2)]
    for build_id in builds:
        await make_older(stage, build_id, days=20)
    own = ChangeRetentionLimits(project_id=project, keep_build_days=30, keep_number_log=1)
    await stage.send(own)
    await enforce(stage, build_days=10)
    assert await stage.list_build_ids(project) == builds
    texts = [await read_first_section(stage, build_id) for build_id in builds]
    assert texts == ["The log was removed: logs are kept for 1 builds.", "some output"]


async def test_the_log_of_a_build_that_finishes_late_is_removed_by_count(stage: BuildStage) -> None:
    project = await stage.create_project()
    late = await stage.launch(project)
    job = await stage.claim()
    await stage.append_log(job, 0, b"some output\n")
    [first, second] = [await stage.run_build(project, b"some output\n") for _ in range(2)]
    await enforce(stage, log_count=1)
    await stage.report(job, "success")
    await stage.wait_until_ended(late)
    assert await read_first_section(stage, late) == "some output"
    await enforce(stage, log_count=1)
    texts = [await read_first_section(stage, build_id) for build_id in (late, first, second)]
    removed = "The log was removed: logs are kept for 1 builds."
    assert texts == [removed, removed, "some output"]


async def test_only_the_newest_builds_keep_their_artifacts(stage: BuildStage) -> None:
    project = await stage.create_project(keep_number_build=None)
    old, recent = [await run_build_with_artifact(stage, project) for _ in range(2)]
    await enforce(stage, artifact_count=1)

    async def stored() -> list[int]:
        artifacts = stage.database["artifacts"].find({"gone": False, "job_id": {"$in": [old, recent]}})
        return [artifact["job_id"] async for artifact in artifacts]

    await eventually_equal(stored, [recent])


async def run_build_with_artifact(stage: BuildStage, project_id: int) -> int:
    """Run a build whose job uploads a file. Return the id of the job."""
    build_id = await stage.launch(project_id)
    job = await stage.claim()
    to_job = {"job_id": job.job_id, "token": job.token}
    upload = ArtifactUpload.model_validate_json(await stage.caller.send(StartArtifactUpload(**to_job)))
    to_upload = {"artifact_id": upload.artifact_id}
    await stage.caller.send(AppendArtifactUpload(**to_upload, offset=0, content=b64encode(b"zip")))
    finish = FinishArtifactUpload(
        **to_job, **to_upload, artifact_type="archive", artifact_format="zip", file_name="a.zip", size=3
    )
    await stage.caller.send(finish)
    await stage.report(job, "success")
    await stage.wait_until_ended(build_id)
    return job.job_id


async def read_first_section(stage: BuildStage, build_id: int) -> str:
    answer = await stage.caller.query(GetLogSection(build_id=build_id, step="-1"))
    return LogSection.model_validate_json(answer).log.strip()
