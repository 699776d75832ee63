"""Uploads, downloads and database checks of artifacts."""

import asyncio
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from pymongo.asynchronous.database import AsyncDatabase

from contracts.builds import (
    ArtifactUpload,
    StartArtifactUpload,
)
from contracts.messages import Command
from libs.documents import Document
from libs.messaging.nats_connection import connect
from libs.messaging.request_reply import MessageClient
from libs.service.connections import create_mongo_client, get_database
from tests.support.external.s3_server import list_objects
from tests.support.in_process.build_system import Body, BuildSystem

CHUNK_SIZE = 512 * 1024
LARGE = array("I", range(CHUNK_SIZE // 2 + 3000)).tobytes()  # all chunks differ
SMALL = b"PK\x05\x06" + bytes(18)
BOUNDARY = "a3f1c0ffee"


@asynccontextmanager
async def open_builds_database(system: BuildSystem) -> AsyncIterator[AsyncDatabase[Document]]:
    async with create_mongo_client(system.settings, "test") as client:
        yield get_database(client, system.settings, "builds")


async def count_documents(system: BuildSystem, collection: str, condition: Document) -> int:
    async with open_builds_database(system) as found:
        return int(await found[collection].count_documents(condition))


async def send_command(system: BuildSystem, command: Command) -> bytes:
    bus = await connect(system.settings, "test")
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
    system: BuildSystem, job: Body, body: bytes, headers: dict[str, str] | None = None, **query: str
) -> Any:
    """Upload a chunked multipart body, with the upload's parameters in the query string."""
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    sent = {**(job_token_header(job) if headers is None else headers), **kind}
    return await system.http.post(artifacts_path(job), params=query, headers=sent, content=iter_chunks(body))


async def upload_like_python_runner(system: BuildSystem, job: Body, content: bytes) -> httpx.Response:
    """Upload a multipart body of known length, with the upload's parameters in the form."""
    return await system.http.post(
        artifacts_path(job),
        headers={"Job-Token": job["token"]},
        data={"artifact_format": "zip", "artifact_type": "archive"},
        files={"file": ("archive.zip", content, "application/octet-stream")},
    )


async def list_artifacts(system: BuildSystem, job: Body) -> list[Body]:
    return list(await system.get(f"/api/developer/jobs/{job['id']}/artifacts"))


async def download_archive(system: BuildSystem, job: Body, bearer: Body) -> httpx.Response:
    return await system.http.get(
        artifacts_path(job), headers=job_token_header(bearer), params={"direct_download": "true"}
    )


async def has_no_documents(system: BuildSystem, collection: str, condition: Document) -> bool:
    return await count_documents(system, collection, condition) == 0


async def has_no_stored_bytes(system: BuildSystem, *artifact_ids: str) -> bool:
    async with open_builds_database(system) as found:
        chunks = await found["file_pieces"].distinct("file")
    left = (*chunks, *await asyncio.to_thread(list_objects, system.settings.s3))
    return not any(id_ in stored_name for id_ in artifact_ids for stored_name in left)


async def start_upload(system: BuildSystem, job: Body) -> ArtifactUpload:
    return ArtifactUpload.model_validate_json(
        await send_command(system, StartArtifactUpload(job_id=job["id"], token=job["token"]))
    )
