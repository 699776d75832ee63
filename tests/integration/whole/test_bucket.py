"""Artifacts in an S3 bucket: object names, outages, and artifacts stored in the database before the bucket was set."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from contracts.errors import RequestRejected
from infra.local.process import Process
from libs.documents import Document
from libs.service.connections import create_mongo_client, get_database
from libs.settings import S3Settings
from services.builds.artifacts.blob_store import MongoBlobStore
from services.builds.artifacts.s3_storage import S3BlobStore
from tests.support.external.s3_server import BUCKET_SECRET_KEY, create_bucket, list_objects, s3_server
from tests.support.in_process.build_system import Body, BuildSystem, FakeRunner, build_system
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import eventually

CHUNK_SIZE = 512 * 1024
CONTENT = b"mill" * (CHUNK_SIZE // 2)  # two chunks


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, S3Settings]]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def bucket(s3: tuple[Process, S3Settings]) -> S3Settings:
    return s3[1]


@pytest.fixture(scope="module")
async def system(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory, bucket: S3Settings
) -> AsyncIterator[BuildSystem]:
    async with build_system(servers, tmp_path_factory.mktemp("whole"), long_poll_seconds=0.5, s3=bucket) as whole:
        yield whole


@pytest.fixture(scope="module")
async def runner(system: BuildSystem) -> FakeRunner:
    return await system.register_runner()


@pytest.fixture
async def job(system: BuildSystem, runner: FakeRunner) -> Body:
    await system.launch_build(await system.create_project())
    return await runner.wait_for_job()


async def upload(system: BuildSystem, job: Body, content: bytes = CONTENT, kind: str = "archive") -> httpx.Response:
    file = {"file": ("out.zip", content, "application/octet-stream")}
    data = {"artifact_format": "zip", "artifact_type": kind}
    headers = {"JOB-TOKEN": job["token"]}
    return await system.http.post(f"/api/v4/jobs/{job['id']}/artifacts", headers=headers, data=data, files=file)


async def download_archive(system: BuildSystem, job: Body) -> httpx.Response:
    return await system.http.get(f"/api/v4/jobs/{job['id']}/artifacts", headers={"JOB-TOKEN": job["token"]})


async def list_chunks_in_database(system: BuildSystem) -> list[Document]:
    async with create_mongo_client(system.settings, "test") as client:
        return await get_database(client, system.settings, "builds")["file_pieces"].find({}).to_list()


async def test_artifact_content_is_stored_in_the_bucket_below_the_prefix_of_the_installation(
    system: BuildSystem, job: Body, bucket: S3Settings
) -> None:
    artifact = (await upload(system, job)).json()
    folder = f"{system.settings.database_prefix}/artifacts/{artifact['id']}"
    names = [f"{folder}/{offset:014d}" for offset in range(0, len(CONTENT), CHUNK_SIZE)]
    assert [name for name in list_objects(bucket) if artifact["id"] in name] == names
    assert await list_chunks_in_database(system) == []
    assert (await download_archive(system, job)).content == CONTENT


async def test_while_the_bucket_is_unavailable_requests_get_503_and_no_artifact_is_lost(
    system: BuildSystem, job: Body, s3: tuple[Process, S3Settings], caplog: pytest.LogCaptureFixture
) -> None:
    artifact = (await upload(system, job)).json()
    path = f"/api/developer/jobs/{job['id']}/artifacts"
    server, bucket = s3
    server.kill()
    refused = (await download_archive(system, job), await upload(system, job, kind="junit"))
    assert [response.status_code for response in refused] == [503, 503]
    response = await system.http.get(f"{path}/{artifact['id']}", headers=system.admin)
    assert (response.status_code, response.json()["message"]) == (503, "ARTIFACT_STORE_UNAVAILABLE")
    server.start()
    server.wait_ready()
    create_bucket(bucket.endpoint, bucket.bucket)
    assert (await upload(system, job, kind="junit")).status_code == 201
    assert sorted(artifact["artifact_type"] for artifact in await system.get(path)) == ["archive", "junit"]
    assert "artifact storage unavailable" in caplog.text
    assert BUCKET_SECRET_KEY not in caplog.text


async def test_artifacts_stored_in_the_database_before_the_bucket_are_still_served_and_deleted(
    system: BuildSystem, job: Body, bucket: S3Settings, runner: FakeRunner
) -> None:
    former = (await upload(system, job)).json()["id"]
    files = S3BlobStore(bucket, f"{system.settings.database_prefix}/artifacts", EmptyDatabaseStorage())
    await files.remove(None, [former])  # type: ignore[arg-type]
    async with create_mongo_client(system.settings, "test") as client:
        chunks = get_database(client, system.settings, "builds")["file_pieces"]
        await chunks.insert_many(
            {"file": former, "offset": offset, "content": CONTENT[offset : offset + CHUNK_SIZE]}
            for offset in range(0, len(CONTENT), CHUNK_SIZE)
        )
    assert (await download_archive(system, job)).content == CONTENT
    await upload(system, job, b"newer")

    async def has_no_chunks() -> bool:
        return await list_chunks_in_database(system) == []

    await eventually(has_no_chunks)
    assert (await download_archive(system, job)).content == b"newer"


class EmptyDatabaseStorage(MongoBlobStore):
    async def read(self, *_: Any) -> None:
        return None

    async def remove(self, *_: Any) -> None:
        return None


async def test_a_missing_bucket_is_reported_as_unavailable_storage_not_as_a_missing_artifact(
    bucket: S3Settings,
) -> None:
    files = S3BlobStore(bucket.model_copy(update={"bucket": "elsewhere"}), "folder", EmptyDatabaseStorage())
    for operation in (
        files.write(None, "id", 0, b"x"),  # type: ignore[arg-type]
        files.read(None, "id", 0),  # type: ignore[arg-type]
        files.remove(None, ["id"]),  # type: ignore[arg-type]
    ):
        with pytest.raises(RequestRejected, match="ARTIFACT_STORE_UNAVAILABLE"):
            await operation
