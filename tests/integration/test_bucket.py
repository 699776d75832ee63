"""Artifacts in a bucket: where their bytes lie, what happens while it is away, and what was there before it."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.errors import Refused
from infra.local.process import Process
from libs.connections import Document, database_of, mongo
from libs.settings import BucketSettings
from services.builds.bucket import FilesInBucket
from services.builds.files import FilesInDatabase
from tests.integration.whole_stage import Body, RunnerAtWork, Whole, whole_stage
from tests.support import eventually
from tests.support.buckets import SECRET, make_bucket, objects, s3_server

PIECE = 512 * 1024
CONTENT = b"mill" * (PIECE // 2)  # four pieces


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[tuple[Process, BucketSettings]]:
    with s3_server(tmp_path) as server:
        yield server


@pytest.fixture
def bucket(s3: tuple[Process, BucketSettings]) -> BucketSettings:
    return s3[1]


@pytest.fixture
async def here(tmp_path: Path, bucket: BucketSettings) -> AsyncIterator[Whole]:
    async with whole_stage(tmp_path, long_poll_seconds=0.5, bucket=bucket) as whole:
        yield whole


@pytest.fixture
async def runner(here: Whole) -> RunnerAtWork:
    return await here.runner()


@pytest.fixture
async def job(here: Whole, runner: RunnerAtWork) -> Body:
    await here.launched(await here.project())
    return await runner.job()


async def sent(here: Whole, job: Body, content: bytes = CONTENT, kind: str = "archive") -> httpx.Response:
    file = {"file": ("out.zip", content, "application/octet-stream")}
    data = {"artifact_format": "zip", "artifact_type": kind}
    headers = {"JOB-TOKEN": job["token"]}
    return await here.http.post(f"/api/v4/jobs/{job['id']}/artifacts", headers=headers, data=data, files=file)


async def fetched(here: Whole, job: Body) -> httpx.Response:
    return await here.http.get(f"/api/v4/jobs/{job['id']}/artifacts", headers={"JOB-TOKEN": job["token"]})


async def pieces_in_database(here: Whole) -> list[Document]:
    async with mongo(here.settings, "test") as client:
        return await database_of(client, here.settings, "builds")["file_pieces"].find({}).to_list()


async def test_the_bytes_lie_in_the_bucket_below_a_folder_of_this_installation(
    here: Whole, job: Body, bucket: BucketSettings
) -> None:
    artifact = (await sent(here, job)).json()
    folder = f"{here.settings.database_prefix}/artifacts/{artifact['id']}"
    places = [f"{folder}/{offset:014d}" for offset in range(0, len(CONTENT), PIECE)]
    assert objects(bucket) == places
    assert await pieces_in_database(here) == []
    assert (await fetched(here, job)).content == CONTENT


async def test_while_the_bucket_is_away_nothing_is_lost_and_clients_are_told_to_come_again(
    here: Whole, job: Body, s3: tuple[Process, BucketSettings], caplog: pytest.LogCaptureFixture
) -> None:
    artifact = (await sent(here, job)).json()
    path = f"/api/developer/jobs/{job['id']}/artifacts"
    server, bucket = s3
    server.kill()
    refused = (await fetched(here, job), await sent(here, job, kind="junit"))
    assert [answer.status_code for answer in refused] == [503, 503]
    answer = await here.http.get(f"{path}/{artifact['id']}", headers=here.admin)
    assert (answer.status_code, answer.json()["message"]) == (503, "ARTIFACT_STORE_UNAVAILABLE")
    server.start()
    server.wait_ready()
    make_bucket(bucket.endpoint, bucket.name)
    assert (await sent(here, job, kind="junit")).status_code == 201
    assert sorted(one["artifact_type"] for one in await here.get(path)) == ["archive", "junit"]
    assert "the bucket of artifacts cannot be used" in caplog.text
    assert SECRET not in caplog.text


async def test_what_came_before_the_bucket_is_still_read_and_removed(
    here: Whole, job: Body, bucket: BucketSettings, runner: RunnerAtWork
) -> None:
    former = (await sent(here, job)).json()["id"]
    files = FilesInBucket(bucket, f"{here.settings.database_prefix}/artifacts", NoFiles())
    await files.remove(None, [former])  # type: ignore[arg-type]
    async with mongo(here.settings, "test") as client:
        pieces = database_of(client, here.settings, "builds")["file_pieces"]
        await pieces.insert_many(
            {"file": former, "offset": offset, "content": CONTENT[offset : offset + PIECE]}
            for offset in range(0, len(CONTENT), PIECE)
        )
    assert (await fetched(here, job)).content == CONTENT
    await sent(here, job, b"newer")  # takes its place

    async def none_there() -> bool:
        return await pieces_in_database(here) == []

    await eventually(none_there)
    assert (await fetched(here, job)).content == b"newer"


class NoFiles(FilesInDatabase):
    async def read(self, *_: Any) -> None:
        return None

    async def remove(self, *_: Any) -> None:
        return None


async def test_a_bucket_that_does_not_exist_is_no_missing_artifact(bucket: BucketSettings) -> None:
    files = FilesInBucket(replace(bucket, name="elsewhere"), "folder", NoFiles())
    for asked in (
        files.write(None, "id", 0, b"x"),  # type: ignore[arg-type]
        files.read(None, "id", 0),  # type: ignore[arg-type]
        files.remove(None, ["id"]),  # type: ignore[arg-type]
    ):
        with pytest.raises(Refused, match="ARTIFACT_STORE_UNAVAILABLE"):
            await asked
