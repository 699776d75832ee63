"""Upload and download of artifacts by GitLab Runner, the Python runner, the Headrace agent and users."""

import asyncio
import io
import itertools
import json
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.config import Config
from agent.runner import run
from contracts.builds import GetJob, LaunchedProject, PlannedArtifacts, PlannedJob
from libs.messaging.nats_connection import connect
from libs.messaging.request_reply import MessageClient
from services.builds.domain.internal_commands import QueueJob
from tests.integration.whole.artifacts.artifact_requests import (
    BOUNDARY,
    CHUNK_SIZE,
    LARGE,
    SMALL,
    download_archive,
    has_no_stored_bytes,
    list_artifacts,
    multipart_body,
    open_builds_database,
    upload_like_go_runner,
    upload_like_python_runner,
)
from tests.support.external.repositories import commit_files
from tests.support.in_process.build_system import Body, BuildSystem, FakeRunner
from tests.support.in_process.internal_commands import issue_command
from tests.support.waiting import eventually

PIPELINE = """
make:
  stage: build
  script: [mkdir -p dist/deep, "echo made > dist/deep/$CI_JOB_NAME", echo hidden > dist/skipped.o]
  artifacts:
    name: "$CI_JOB_NAME of $CI_COMMIT_REF_NAME"
    paths: [dist/]
    exclude: ["**/*.o"]
    expire_in: 2 days
try:
  stage: test
  script: [grep made dist/deep/make, test ! -e dist/skipped.o]
"""
JOB_IDS = itertools.count(900_000)


async def queue_job_in_same_build(system: BuildSystem, job: Body, **options: Any) -> int:
    """Queue another job in the build of `job` and return its id."""
    number = next(JOB_IDS)
    project = LaunchedProject(
        project_id=job["job_info"]["project_id"],
        name="mill",
        owner_alias="root",
        alias="mill",
        repository=str(system.repository),
        branch="main",
        spec_file_path="/headrace.yaml",
    )
    planned = PlannedJob(job_id=number, job_uuid=f"uuid-{number}", **options)
    build_id, sha = job["job_info"]["pipeline_id"], job["git_info"]["sha"]
    await issue_command(
        system.settings, QueueJob(job_id=number, build_id=build_id, project=project, job=planned, ref="main", sha=sha)
    )
    return number


@pytest.mark.parametrize(
    "content", [b"", SMALL, LARGE, LARGE[: 2 * CHUNK_SIZE]], ids=["empty", "small", "large", "even"]
)
async def test_an_artifact_uploaded_like_gitlab_runner_is_downloaded_unchanged(
    system: BuildSystem, job: Body, content: bytes
) -> None:
    response = await upload_like_go_runner(
        system, job, multipart_body(content), artifact_format="zip", artifact_type="archive"
    )
    assert response.status_code == 201, response.text
    back = await download_archive(system, job, job)
    assert (back.status_code, back.content) == (200, content)
    assert back.headers["content-type"] == "application/octet-stream"


async def test_an_artifact_uploaded_like_the_python_runner_is_downloaded_unchanged(
    system: BuildSystem, job: Body
) -> None:
    response = await upload_like_python_runner(system, job, LARGE)
    assert response.status_code == 201, response.text
    back = await download_archive(system, job, job)
    assert (back.status_code, back.content) == (200, LARGE)


async def test_form_parameters_after_the_file_are_read(system: BuildSystem, job: Body) -> None:
    field = 'Content-Disposition: form-data; name="artifact_type"'
    tail = f"\r\n--{BOUNDARY}\r\n{field}\r\n\r\njunit\r\n--{BOUNDARY}--\r\n"
    response = await upload_like_go_runner(
        system, job, multipart_body(b"<xml/>", "report.xml.gz", complete=False) + tail.encode()
    )
    assert response.status_code == 201
    (artifact,) = await list_artifacts(system, job)
    assert (artifact["artifact_type"], artifact["file_name"]) == ("junit", "report.xml.gz")


async def test_a_second_artifact_of_the_same_type_replaces_the_first(system: BuildSystem, job: Body) -> None:
    await upload_like_python_runner(system, job, b"first")
    ((former),) = await list_artifacts(system, job)
    await upload_like_python_runner(system, job, b"second")
    assert (await download_archive(system, job, job)).content == b"second"
    (present,) = await list_artifacts(system, job)
    assert present["id"] != former["id"]
    await eventually(lambda: has_no_stored_bytes(system, former["id"]))


async def test_a_finished_job_serves_its_archive_and_rejects_uploads(
    system: BuildSystem, job: Body, runner: FakeRunner
) -> None:
    await upload_like_python_runner(system, job, SMALL)
    await runner.report(job, "success")
    assert (await download_archive(system, job, job)).content == SMALL
    assert (await upload_like_python_runner(system, job, SMALL)).status_code == 403


async def test_a_later_job_of_the_build_receives_the_archive_as_a_dependency(
    system: BuildSystem, job: Body, runner: FakeRunner
) -> None:
    await upload_like_go_runner(system, job, multipart_body(LARGE, "bundle.zip"))
    wanted = PlannedArtifacts(paths=("dist/",), expire_in="2 days")
    number = await queue_job_in_same_build(
        system, job, name="deploy", commands=("true",), fetches=(job["job_info"]["name"],), artifacts=wanted
    )
    later = await runner.wait_for_job()
    assert later["id"] == number
    (dependency,) = later["dependencies"]
    assert dependency["artifacts_file"] == {"filename": "bundle.zip", "size": len(LARGE)}
    got = await system.http.get(
        f"/api/v4/jobs/{dependency['id']}/artifacts", headers={"JOB-TOKEN": dependency["token"]}
    )
    assert (got.status_code, got.content) == (200, LARGE)
    # Without `expire_in` in the upload, the job's setting applies.
    assert (await upload_like_python_runner(system, later, SMALL)).status_code == 201
    (mine,) = await list_artifacts(system, later)
    assert timedelta(days=1) < datetime.fromisoformat(mine["expire_at"]) - datetime.now(UTC) < timedelta(days=3)
    assert later["artifacts"] == [
        {
            "expire_in": "2 days",
            "untracked": False,
            "paths": ["dist/"],
            "exclude": [],
            "when": "on_success",
            "artifact_type": "archive",
            "artifact_format": "zip",
        }
    ]
    await runner.report(later, "success")
    assert (await download_archive(system, job, later)).status_code == 403  # the token expired when its job ended


async def test_the_headrace_agent_uploads_artifacts_and_downloads_those_of_earlier_jobs(
    system: BuildSystem, job: Body, runner: FakeRunner, tmp_path: Path
) -> None:
    script = ("cp -r ci out", "ls")
    wanted = PlannedArtifacts(name="scripts-$CI_JOB_ID", paths=("out/",))
    first = await queue_job_in_same_build(system, job, name="make", commands=script, artifacts=wanted)
    url = str(system.http.base_url).rstrip("/")
    config = Config(
        url=url,
        token=runner.token,
        id=1,
        name="ours",
        system_id="s",
        builds_dir=str(tmp_path / "builds"),
        executor="shell",
    )
    await run(config, stop=asyncio.Event(), once=True)
    (archive,) = await list_artifacts(system, {"id": first})
    assert archive["file_name"] == f"scripts-{first}.zip"
    path = f"/api/developer/jobs/{first}/artifacts/{archive['id']}"
    content = (await system.http.get(path, headers=system.admin)).content
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        assert opened.read("out/build.sh") == (system.repository / "ci/build.sh").read_bytes()
    second = await queue_job_in_same_build(system, job, name="again", commands=("cat out/build.sh",), fetches=("make",))
    await run(config, stop=asyncio.Event(), once=True)
    log = await read_log(system, second)
    assert "Downloading artifacts of make" in log
    assert (system.repository / "ci/build.sh").read_text() in log


async def test_a_pipeline_passes_artifacts_from_stage_to_stage(
    system: BuildSystem, runner: FakeRunner, tmp_path: Path
) -> None:
    commit_files(system.repository, {"pipeline/.gitlab-ci.yml": PIPELINE})
    build_id = await system.launch_build(await system.create_project(spec_file_path="/pipeline/.gitlab-ci.yml"))
    url = str(system.http.base_url).rstrip("/")
    config = Config(
        url=url,
        token=runner.token,
        id=1,
        name="ours",
        system_id="s",
        builds_dir=str(tmp_path / "builds"),
        executor="shell",
    )
    for _ in range(2):
        await run(config, stop=asyncio.Event(), once=True)
    ended = await system.wait_until_ended(build_id)
    assert ended["exit_code"] == 0, ended


async def read_log(system: BuildSystem, job_id: int) -> str:
    async with open_builds_database(system) as found:
        attempts = [attempt["_id"] async for attempt in found["attempts"].find({"job_id": job_id})]
        chunks = found["log_chunks"].find({"attempt": {"$in": attempts}}, sort=[("offset", 1), ("place", 1)])
        return b"".join([chunk["text"] async for chunk in chunks]).decode()


async def test_downloading_the_archive_of_a_job_without_one_is_404(system: BuildSystem, job: Body) -> None:
    assert (await download_archive(system, job, job)).status_code == 404


async def test_a_downloaded_artifact_has_a_sanitized_file_name(system: BuildSystem, job: Body) -> None:
    await upload_like_go_runner(system, job, multipart_body(SMALL, "../../etc/pass\x07wörd.zip"))
    (artifact,) = await list_artifacts(system, job)
    path = f"/api/developer/jobs/{job['id']}/artifacts/{artifact['id']}"
    response = await system.http.get(path, headers=system.admin)
    assert (response.status_code, response.content) == (200, SMALL)
    assert response.headers["content-disposition"] == "attachment; filename*=UTF-8''pass_w%C3%B6rd.zip"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert (await system.http.get(path)).status_code == 401
    missing = await system.http.get(path + "0", headers=system.admin)
    assert (missing.status_code, missing.json()["message"]) == (404, "ARTIFACT_NOT_FOUND")


async def test_the_row_of_a_job_with_artifacts_holds_no_token(system: BuildSystem, job: Body) -> None:
    await upload_like_python_runner(system, job, SMALL)
    bus = await connect(system.settings, "test")
    try:
        row = json.loads(await MessageClient(bus).query(GetJob(job_id=job["id"])))
    finally:
        await bus.close()
    assert row["artifacts"][0]["file_name"] == "archive.zip"
    assert job["token"] not in json.dumps(row)
