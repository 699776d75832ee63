"""Artifacts on all services: upload formats of both runners, limits, tokens, crashes and expiry."""

import asyncio
import io
import itertools
import json
import zipfile
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from agent.config import Config
from agent.runner import run
from contracts.builds import (
    AppendArtifactUpload,
    ArtifactUpload,
    DeleteBuild,
    FinishArtifactUpload,
    GetJob,
    LaunchedProject,
    MarkJobLost,
    PlannedArtifacts,
    PlannedJob,
    QueueJob,
    StartArtifactUpload,
)
from contracts.messages import Command
from libs.documents import Document
from libs.messaging.nats_connection import connect
from libs.messaging.request_reply import MessageClient
from libs.service.connections import create_mongo_client, get_database
from libs.settings import BucketSettings
from tests.support.external.repositories import commit_files
from tests.support.external.s3_server import list_objects, s3_server
from tests.support.in_process.whole_stage import Body, BuildSystem, FakeRunner, build_system
from tests.support.waiting import eventually

CHUNK_SIZE = 512 * 1024
LARGE = b"".join(number.to_bytes(4, "big") for number in range(CHUNK_SIZE // 2 + 3000))  # no two chunks are equal
SMALL = b"PK\x05\x06" + bytes(18)
BOUNDARY = "a3f1c0ffee"
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


@pytest.fixture(scope="module", params=["database", "bucket"])
def bucket(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketSettings | None]:
    """Return the artifact storage under test: None for the database, or the settings of an S3 bucket."""
    if request.param == "database":
        yield None
        return
    with s3_server(tmp_path_factory.mktemp("s3")) as (_server, settings):
        yield settings


@pytest.fixture(scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory, bucket: BucketSettings | None) -> AsyncIterator[BuildSystem]:
    folder = tmp_path_factory.mktemp("whole")
    async with build_system(folder, long_poll_seconds=0.5, artifact_megabytes=2, bucket=bucket) as whole:
        yield whole


@pytest.fixture(scope="module")
async def project(system: BuildSystem) -> Body:
    return await system.create_project()


@pytest.fixture(scope="module")
async def runner(system: BuildSystem) -> FakeRunner:
    return await system.register_runner()


@pytest.fixture
async def job(system: BuildSystem, project: Body, runner: FakeRunner) -> AsyncIterator[Body]:
    """Return a running job with its build. It is finished afterwards, so that the queue is empty again."""
    await system.launch_build(project)
    job = await runner.wait_for_job()
    yield job
    await runner.report(job, "success")


@asynccontextmanager
async def open_builds_database(here: BuildSystem) -> AsyncIterator[AsyncDatabase[Document]]:
    async with create_mongo_client(here.settings, "test") as client:
        yield get_database(client, here.settings, "builds")


async def count_documents(here: BuildSystem, collection: str, condition: Document) -> int:
    async with open_builds_database(here) as found:
        return int(await found[collection].count_documents(condition))


async def send_command(here: BuildSystem, command: Command) -> bytes:
    bus = await connect(here.settings, "test")
    try:
        return await MessageClient(bus).send(command)
    finally:
        await bus.close()


def artifacts_path(job: Body) -> str:
    return f"/api/v4/jobs/{job['id']}/artifacts"


def job_token_header(job: Body) -> dict[str, str]:
    return {"JOB-TOKEN": job["token"]}


def multipart_body(content: bytes, name: str = "out.zip", *, complete: bool = True) -> bytes:
    disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    head = f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n"
    return head.encode() + content + (f"\r\n--{BOUNDARY}--\r\n".encode() if complete else b"")


async def iter_chunks(body: bytes, size: int = 7001) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def upload_like_go_runner(
    here: BuildSystem, job: Body, body: bytes, headers: dict[str, str] | None = None, **query: str
) -> Any:
    """Upload a chunked multipart body with the parameters in the query string."""
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    sent = {**(job_token_header(job) if headers is None else headers), **kind}
    return await here.http.post(artifacts_path(job), params=query, headers=sent, content=iter_chunks(body))


async def upload_like_python_runner(here: BuildSystem, job: Body, content: bytes) -> httpx.Response:
    """Upload a multipart body of known length with the parameters in the form."""
    return await here.http.post(
        artifacts_path(job),
        headers={"Job-Token": job["token"]},
        data={"artifact_format": "zip", "artifact_type": "archive"},
        files={"file": ("archive.zip", content, "application/octet-stream")},
    )


async def list_artifacts(here: BuildSystem, job: Body) -> list[Body]:
    return list(await here.get(f"/api/developer/jobs/{job['id']}/artifacts"))


async def download_archive(here: BuildSystem, job: Body, bearer: Body) -> httpx.Response:
    return await here.http.get(
        artifacts_path(job), headers=job_token_header(bearer), params={"direct_download": "true"}
    )


async def queue_job_in_same_build(here: BuildSystem, job: Body, **wants: Any) -> int:
    """Queue another job in the build of this job and return its id."""
    number = next(JOB_IDS)
    project = LaunchedProject(
        project_id=job["job_info"]["project_id"],
        name="mill",
        owner_alias="root",
        alias="mill",
        repository=str(here.repository),
        branch="main",
        spec_file_path="/headrace.yaml",
    )
    planned = PlannedJob(job_id=number, job_uuid=f"uuid-{number}", **wants)
    build_id, sha = job["job_info"]["pipeline_id"], job["git_info"]["sha"]
    await send_command(
        here, QueueJob(job_id=number, build_id=build_id, project=project, job=planned, ref="main", sha=sha)
    )
    return number


# ---- upload and download


@pytest.mark.parametrize(
    "content", [b"", SMALL, LARGE, LARGE[: 2 * CHUNK_SIZE]], ids=["empty", "small", "large", "even"]
)
async def test_an_artifact_uploaded_like_gitlab_runner_is_downloaded_unchanged(
    system: BuildSystem, job: Body, content: bytes
) -> None:
    answer = await upload_like_go_runner(
        system, job, multipart_body(content), artifact_format="zip", artifact_type="archive"
    )
    assert answer.status_code == 201, answer.text
    back = await download_archive(system, job, job)
    assert (back.status_code, back.content) == (200, content)
    assert back.headers["content-type"] == "application/octet-stream"


async def test_an_artifact_uploaded_like_the_python_runner_is_downloaded_unchanged(
    system: BuildSystem, job: Body
) -> None:
    answer = await upload_like_python_runner(system, job, LARGE)
    assert answer.status_code == 201, answer.text
    back = await download_archive(system, job, job)
    assert (back.status_code, back.content) == (200, LARGE)


async def test_form_parameters_after_the_file_are_read(system: BuildSystem, job: Body) -> None:
    field = 'Content-Disposition: form-data; name="artifact_type"'
    tail = f"\r\n--{BOUNDARY}\r\n{field}\r\n\r\njunit\r\n--{BOUNDARY}--\r\n"
    answer = await upload_like_go_runner(
        system, job, multipart_body(b"<xml/>", "report.xml.gz", complete=False) + tail.encode()
    )
    assert answer.status_code == 201
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


async def has_no_documents(here: BuildSystem, collection: str, condition: Document) -> bool:
    return await count_documents(here, collection, condition) == 0


async def has_no_stored_bytes(here: BuildSystem, *artifact_ids: str) -> bool:
    """Return whether neither the database nor the bucket has content of these artifacts."""
    async with open_builds_database(here) as found:
        pieces = await found["file_pieces"].distinct("file")
    left = (*pieces, *await asyncio.to_thread(list_objects, here.settings.bucket))
    return not any(id_ in stored_name for id_ in artifact_ids for stored_name in left)


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
    assert (await upload_like_python_runner(system, later, SMALL)).status_code == 201  # without an expiry
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
    assert (await download_archive(system, job, later)).status_code == 403  # the token expired with its job


async def test_the_headrace_agent_uploads_artifacts_and_downloads_those_of_earlier_jobs(
    system: BuildSystem, job: Body, runner: FakeRunner, tmp_path: Path
) -> None:
    script = ("cp -r ci out", "ls")
    wanted = PlannedArtifacts(name="scripts-$CI_JOB_ID", paths=("out/",))
    first = await queue_job_in_same_build(system, job, name="make", commands=script, artifacts=wanted)
    url = str(system.http.base_url).rstrip("/")
    config = Config(url=url, token=runner.token, id=1, name="ours", system_id="s", builds_dir=str(tmp_path / "builds"))
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
    config = Config(url=url, token=runner.token, id=1, name="ours", system_id="s", builds_dir=str(tmp_path / "builds"))
    for _ in range(2):
        await run(config, stop=asyncio.Event(), once=True)
    ended = await system.wait_until_ended(build_id)
    assert ended["exit_code"] == 0, ended


async def read_log(here: BuildSystem, job_id: int) -> str:
    async with open_builds_database(here) as found:
        attempts = [attempt["_id"] async for attempt in found["attempts"].find({"job_id": job_id})]
        chunks = found["log_chunks"].find({"attempt": {"$in": attempts}}, sort=[("offset", 1), ("place", 1)])
        return b"".join([chunk["text"] async for chunk in chunks]).decode()


async def test_downloading_the_archive_of_a_job_without_one_is_404(system: BuildSystem, job: Body) -> None:
    assert (await download_archive(system, job, job)).status_code == 404


# ---- rejected uploads


async def test_only_the_token_of_the_job_can_upload_artifacts(system: BuildSystem, job: Body) -> None:
    for headers in ({}, {"JOB-TOKEN": "hrj-other"}):
        answer = await upload_like_go_runner(system, job, multipart_body(SMALL), headers)
        assert answer.status_code == 403
    unknown = {**job, "id": 987654321}
    assert (await upload_like_go_runner(system, unknown, multipart_body(SMALL))).status_code == 403


async def test_the_token_of_a_job_of_another_build_cannot_download_artifacts(
    system: BuildSystem, job: Body, project: Body, runner: FakeRunner
) -> None:
    await upload_like_python_runner(system, job, SMALL)
    await system.launch_build(project)
    other = await runner.wait_for_job()
    assert (await download_archive(system, job, other)).status_code == 403
    assert (await system.http.get(artifacts_path(job))).status_code == 403
    await runner.report(other, "success")


@pytest.mark.parametrize(
    "send",
    [upload_like_python_runner, lambda here, job, content: upload_like_go_runner(here, job, multipart_body(content))],
)
async def test_an_artifact_above_the_limit_is_rejected_and_not_stored(
    system: BuildSystem, job: Body, send: Any
) -> None:
    answer = await send(system, job, bytes(2 * 1024 * 1024 + 1))
    assert answer.status_code == 413
    await assert_nothing_stored(system, job)


@pytest.mark.parametrize(
    "body",
    [
        multipart_body(LARGE, complete=False),
        multipart_body(SMALL)[:-10],
        b"no form at all",
        multipart_body(b"x").replace(b'"file"', b'"else"'),
        b"",
    ],
    ids=["no end", "half an end", "no form", "no file", "nothing"],
)
async def test_a_malformed_upload_is_rejected_and_not_stored(system: BuildSystem, job: Body, body: bytes) -> None:
    answer = await upload_like_go_runner(system, job, body)
    assert answer.status_code == 400
    await assert_nothing_stored(system, job)


async def test_an_upload_whose_connection_breaks_is_not_stored(system: BuildSystem, job: Body) -> None:
    url = urlsplit(str(system.http.base_url))
    _, writer = await asyncio.open_connection(url.hostname, url.port)
    body = multipart_body(LARGE)
    head = (
        f"POST {artifacts_path(job)} HTTP/1.1\r\nHost: x\r\nJOB-TOKEN: {job['token']}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body[: 2 * CHUNK_SIZE])
    await eventually(lambda: has_documents(system, {"job_id": job["id"], "length": CHUNK_SIZE}))
    writer.transport.abort()
    await assert_nothing_stored(system, job)


async def has_documents(here: BuildSystem, condition: Document) -> bool:
    return await count_documents(here, "artifacts", condition) > 0


async def assert_nothing_stored(here: BuildSystem, job: Body) -> None:
    assert await list_artifacts(here, job) == []
    await eventually(lambda: has_no_documents(here, "artifacts", {"job_id": job["id"], "gone": False}))
    async with open_builds_database(here) as found:
        ids = [artifact["_id"] async for artifact in found["artifacts"].find({"job_id": job["id"]})]
    assert ids
    await eventually(lambda: has_no_stored_bytes(here, *ids))


@pytest.mark.parametrize(
    "query",
    [{"expire_in": "soon"}, {"artifact_format": "tar"}, {"artifact_type": "../x"}],
    ids=lambda query: str(query),
)
async def test_invalid_artifact_parameters_are_rejected(system: BuildSystem, job: Body, query: Body) -> None:
    answer = await upload_like_go_runner(system, job, multipart_body(SMALL), **query)
    assert answer.status_code == 422
    await assert_nothing_stored(system, job)


async def test_unfinished_uploads_per_job_are_limited(system: BuildSystem, job: Body) -> None:
    for _ in range(50):
        await start_upload(system, job)
    assert (await upload_like_go_runner(system, job, multipart_body(SMALL))).status_code == 413


# ---- crashes and expiry


async def test_an_unfinished_upload_is_not_visible_and_is_purged(system: BuildSystem, job: Body) -> None:
    upload = await start_upload(system, job)
    await send_command(system, AppendArtifactUpload(artifact_id=upload.artifact_id, offset=0, content=b64encode(SMALL)))
    assert await list_artifacts(system, job) == []
    assert (await download_archive(system, job, job)).status_code == 404
    for _ in range(2):  # the content is purged first, the record an hour later
        await age_upload(system, upload.artifact_id)
    await eventually(lambda: has_no_documents(system, "artifacts", {"_id": upload.artifact_id}), within=25)
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
    piece = AppendArtifactUpload(artifact_id=upload.artifact_id, offset=0, content=b64encode(SMALL))
    end = FinishArtifactUpload(
        job_id=job["id"], token=job["token"], artifact_id=upload.artifact_id, size=len(SMALL), file_name="a.zip"
    )
    for command in (piece, piece, end, end):
        await send_command(system, command)
    (artifact,) = await list_artifacts(system, job)
    assert (artifact["id"], artifact["size"]) == (upload.artifact_id, len(SMALL))
    assert (await download_archive(system, job, job)).content == SMALL


async def start_upload(here: BuildSystem, job: Body) -> ArtifactUpload:
    return ArtifactUpload.model_validate_json(
        await send_command(here, StartArtifactUpload(job_id=job["id"], token=job["token"]))
    )


async def age_upload(here: BuildSystem, artifact_id: str, then: Document | None = None) -> None:
    """Make an upload look two hours old and wait until the periodic task has processed it."""
    then = then or {"touched_at": {"$gt": datetime.now(UTC) - timedelta(minutes=1)}}
    async with open_builds_database(here) as found:
        await found["artifacts"].update_one(
            {"_id": artifact_id}, {"$set": {"touched_at": datetime.now(UTC) - timedelta(hours=2)}}
        )
        waiting = {"_id": artifact_id, "$nor": [then]}
    await eventually(lambda: has_no_documents(here, "artifacts", waiting), within=25)


async def test_an_artifact_expires_after_its_expire_in(system: BuildSystem, job: Body, runner: FakeRunner) -> None:
    await upload_like_go_runner(system, job, multipart_body(SMALL), expire_in="1 week")
    (artifact,) = await list_artifacts(system, job)
    lives = datetime.fromisoformat(artifact["expire_at"]) - datetime.fromisoformat(artifact["uploaded_at"])
    assert abs(lives - timedelta(weeks=1)) < timedelta(seconds=5)
    shown = (await system.get("/api/admin/runners/all/jobs", params={"size": 1}))["_embedded"]
    assert shown["restPipelineJobModelList"][0]["artifactsExpireAt"][:19] == artifact["expire_at"][:19]
    await upload_like_go_runner(system, job, multipart_body(SMALL), expire_in="1 sec")
    (artifact,) = await list_artifacts(system, job)
    await eventually(lambda: has_no_artifacts(system, job), within=25)
    assert (await download_archive(system, job, job)).status_code == 404
    await eventually(lambda: has_no_stored_bytes(system, artifact["id"]))


async def has_no_artifacts(here: BuildSystem, job: Body) -> bool:
    return await list_artifacts(here, job) == []


async def test_a_retried_job_starts_without_artifacts(system: BuildSystem, job: Body, runner: FakeRunner) -> None:
    await upload_like_python_runner(system, job, SMALL)
    (artifact,) = await list_artifacts(system, job)
    await send_command(system, MarkJobLost(job_id=job["id"], attempt=1, reason="silent"))
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
    answer = await system.http.get(f"/api/developer/jobs/{job['id']}/artifacts", headers=system.admin)
    assert answer.status_code == 404


# ---- downloads by users


async def test_a_downloaded_artifact_has_a_sanitized_file_name(system: BuildSystem, job: Body) -> None:
    await upload_like_go_runner(system, job, multipart_body(SMALL, "../../etc/pass\x07wörd.zip"))
    (artifact,) = await list_artifacts(system, job)
    path = f"/api/developer/jobs/{job['id']}/artifacts/{artifact['id']}"
    answer = await system.http.get(path, headers=system.admin)
    assert (answer.status_code, answer.content) == (200, SMALL)
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''pass_w%C3%B6rd.zip"
    assert answer.headers["x-content-type-options"] == "nosniff"
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
