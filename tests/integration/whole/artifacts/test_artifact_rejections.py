"""Rejected uploads: tokens, limits, malformed bodies and broken connections."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest

from libs.documents import Document
from tests.integration.whole.artifacts.artifact_requests import (
    BOUNDARY,
    CHUNK_SIZE,
    LARGE,
    SMALL,
    artifacts_path,
    count_documents,
    download_archive,
    has_no_documents,
    has_no_stored_bytes,
    list_artifacts,
    multipart_body,
    open_builds_database,
    start_upload,
    upload_like_go_runner,
    upload_like_python_runner,
)
from tests.support.in_process.build_system import Body, BuildSystem, FakeRunner
from tests.support.waiting import eventually


async def test_only_the_token_of_the_job_can_upload_artifacts(system: BuildSystem, job: Body) -> None:
    for headers in ({}, {"JOB-TOKEN": "hrj-other"}):
        response = await upload_like_go_runner(system, job, multipart_body(SMALL), headers)
        assert response.status_code == 403
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
    [
        upload_like_python_runner,
        lambda system, job, content: upload_like_go_runner(system, job, multipart_body(content)),
    ],
)
async def test_an_artifact_above_the_limit_is_rejected_and_not_stored(
    system: BuildSystem, job: Body, send: Any
) -> None:
    response = await send(system, job, bytes(2 * 1024 * 1024 + 1))
    assert response.status_code == 413
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
    response = await upload_like_go_runner(system, job, body)
    assert response.status_code == 400
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


async def has_documents(system: BuildSystem, condition: Document) -> bool:
    return await count_documents(system, "artifacts", condition) > 0


async def assert_nothing_stored(system: BuildSystem, job: Body) -> None:
    assert await list_artifacts(system, job) == []
    await eventually(lambda: has_no_documents(system, "artifacts", {"job_id": job["id"], "gone": False}))
    async with open_builds_database(system) as found:
        ids = [artifact["_id"] async for artifact in found["artifacts"].find({"job_id": job["id"]})]
    assert ids
    await eventually(lambda: has_no_stored_bytes(system, *ids))


@pytest.mark.parametrize(
    "query",
    [{"expire_in": "soon"}, {"artifact_format": "tar"}, {"artifact_type": "../x"}],
    ids=lambda query: str(query),
)
async def test_invalid_artifact_parameters_are_rejected(system: BuildSystem, job: Body, query: Body) -> None:
    response = await upload_like_go_runner(system, job, multipart_body(SMALL), **query)
    assert response.status_code == 422
    await assert_nothing_stored(system, job)


async def test_unfinished_uploads_per_job_are_limited(system: BuildSystem, job: Body) -> None:
    for _ in range(50):
        await start_upload(system, job)
    assert (await upload_like_go_runner(system, job, multipart_body(SMALL))).status_code == 413
