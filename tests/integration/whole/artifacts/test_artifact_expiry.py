"""Artifacts after crashes, expiry, retries and deletion of their build."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta

from contracts.builds import AppendArtifactUpload, DeleteBuild, FinishArtifactUpload
from libs.documents import Document
from services.builds.domain.internal_commands import MarkJobLost
from tests.integration.whole.artifacts.artifact_requests import (
    LARGE,
    SMALL,
    download_archive,
    has_no_documents,
    has_no_stored_bytes,
    list_artifacts,
    multipart_body,
    open_builds_database,
    send_command,
    start_upload,
    upload_like_go_runner,
    upload_like_python_runner,
)
from tests.support.in_process.build_system import Body, BuildSystem, FakeRunner
from tests.support.in_process.internal_commands import issue_command
from tests.support.waiting import eventually


async def test_an_unfinished_upload_is_not_visible_and_is_purged(system: BuildSystem, job: Body) -> None:
    upload = await start_upload(system, job)
    await send_command(system, AppendArtifactUpload(artifact_id=upload.artifact_id, offset=0, content=b64encode(SMALL)))
    assert await list_artifacts(system, job) == []
    assert (await download_archive(system, job, job)).status_code == 404
    for _ in range(2):  # the first purge deletes the content; the second, an hour later, deletes the record
        await age_upload(system, upload.artifact_id)
    await eventually(lambda: has_no_documents(system, "artifacts", {"_id": upload.artifact_id}))
    assert await has_no_stored_bytes(system, upload.artifact_id)


async def test_a_recorded_artifact_survives_a_crash_before_it_was_marked_as_recorded(
    system: BuildSystem, job: Body
) -> None:
    await upload_like_python_runner(system, job, SMALL)
    (artifact,) = await list_artifacts(system, job)
    async with open_builds_database(system) as found:
        await found["artifacts"].update_one({"_id": artifact["id"]}, {"$set": {"recorded": False}})
    await age_upload(system, artifact["id"], then={"recorded": True})
    assert (await download_archive(system, job, job)).content == SMALL


async def test_uploading_chunks_and_finishing_twice_has_no_further_effect(system: BuildSystem, job: Body) -> None:
    upload = await start_upload(system, job)
    chunk = AppendArtifactUpload(artifact_id=upload.artifact_id, offset=0, content=b64encode(SMALL))
    end = FinishArtifactUpload(
        job_id=job["id"], token=job["token"], artifact_id=upload.artifact_id, size=len(SMALL), file_name="a.zip"
    )
    for command in (chunk, chunk, end, end):
        await send_command(system, command)
    (artifact,) = await list_artifacts(system, job)
    assert (artifact["id"], artifact["size"]) == (upload.artifact_id, len(SMALL))
    assert (await download_archive(system, job, job)).content == SMALL


async def age_upload(system: BuildSystem, artifact_id: str, then: Document | None = None) -> None:
    """Change the upload's time to two hours ago, and wait until the periodic task has processed the upload.

    `then`: query that a processed upload matches. Default: `touched_at` is recent.
    """
    then = then or {"touched_at": {"$gt": datetime.now(UTC) - timedelta(minutes=1)}}
    async with open_builds_database(system) as found:
        await found["artifacts"].update_one(
            {"_id": artifact_id}, {"$set": {"touched_at": datetime.now(UTC) - timedelta(hours=2)}}
        )
        waiting = {"_id": artifact_id, "$nor": [then]}
    await eventually(lambda: has_no_documents(system, "artifacts", waiting))


async def test_an_artifact_expires_after_its_expire_in(system: BuildSystem, job: Body, runner: FakeRunner) -> None:
    await upload_like_go_runner(system, job, multipart_body(SMALL), expire_in="1 week")
    (artifact,) = await list_artifacts(system, job)
    lifetime = datetime.fromisoformat(artifact["expire_at"]) - datetime.fromisoformat(artifact["uploaded_at"])
    assert abs(lifetime - timedelta(weeks=1)) < timedelta(minutes=5)
    shown = (await system.get("/api/admin/runners/all/jobs", params={"size": 1}))["_embedded"]
    assert shown["restPipelineJobModelList"][0]["artifactsExpireAt"][:19] == artifact["expire_at"][:19]
    # a second later, the list may be empty
    brief = await upload_like_go_runner(system, job, multipart_body(SMALL), expire_in="1 sec")
    await eventually(lambda: has_no_artifacts(system, job))
    assert (await download_archive(system, job, job)).status_code == 404
    await eventually(lambda: has_no_stored_bytes(system, artifact["id"], brief.json()["id"]))


async def has_no_artifacts(system: BuildSystem, job: Body) -> bool:
    return await list_artifacts(system, job) == []


async def test_a_retried_job_starts_without_artifacts(system: BuildSystem, job: Body, runner: FakeRunner) -> None:
    await upload_like_python_runner(system, job, SMALL)
    (artifact,) = await list_artifacts(system, job)
    await issue_command(system.settings, MarkJobLost(job_id=job["id"], attempt=1, reason="silent"))
    assert await list_artifacts(system, job) == []
    assert (await upload_like_python_runner(system, job, SMALL)).status_code == 403
    await eventually(lambda: has_no_stored_bytes(system, artifact["id"]))
    again = await runner.wait_for_job()
    assert (await upload_like_python_runner(system, again, SMALL)).status_code == 201
    await runner.report(again, "success")


async def test_deleting_a_build_deletes_its_artifacts(system: BuildSystem, job: Body, runner: FakeRunner) -> None:
    await upload_like_python_runner(system, job, LARGE)
    (artifact,) = await list_artifacts(system, job)
    await runner.report(job, "success")
    await system.wait_until_ended(job["job_info"]["pipeline_id"])
    await send_command(system, DeleteBuild(build_id=job["job_info"]["pipeline_id"]))
    await eventually(lambda: has_no_stored_bytes(system, artifact["id"]))
    assert (await download_archive(system, job, job)).status_code == 403
    response = await system.http.get(f"/api/developer/jobs/{job['id']}/artifacts", headers=system.admin)
    assert response.status_code == 404
