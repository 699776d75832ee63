"""Artifact transfers through the gateway during an outage of the builds service: no partial file looks complete."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from contracts.builds import (
    AppendArtifactUpload,
    Artifact,
    ArtifactUpload,
    DiscardArtifactUpload,
    FinishArtifactUpload,
    GetArtifact,
    GetArtifactChunk,
    StartArtifactUpload,
)
from contracts.errors import RequestRejected
from gateway.streaming.downloads import CHUNK_BYTES
from tests.support.in_process.gateway_stage import GatewayStage, open_gateway_stage
from tests.support.infrastructure.servers import running_nats

ARTIFACTS_PATH, TOKEN = "/api/v4/jobs/11/artifacts", {"JOB-TOKEN": "job-token"}
UPLOAD = ArtifactUpload(artifact_id="a", longest=10 * CHUNK_BYTES)
ARTIFACT = Artifact(
    id="a",
    artifact_type="archive",
    artifact_format="zip",
    file_name="out.zip",
    size=2 * CHUNK_BYTES,
    uploaded_at=datetime(2026, 1, 2, 12, tzinfo=UTC),
)
FILE = {"file": ("out.zip", bytes(2 * CHUNK_BYTES + 5), "application/octet-stream")}


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayStage]:
    with running_nats(tmp_path_factory.mktemp("bus")) as server:
        async with open_gateway_stage(server.program.url) as running:
            await running.services.serve(StartArtifactUpload, lambda _: UPLOAD)
            await running.services.serve(AppendArtifactUpload, lambda _: UPLOAD)
            await running.services.serve(DiscardArtifactUpload, lambda _: UPLOAD)
            await running.services.serve(FinishArtifactUpload, lambda _: ARTIFACT)
            await running.services.serve(GetArtifact, lambda _: ARTIFACT)
            yield running


def reject_with(code: str) -> Callable[[Any], Any]:
    def reject(_message: Any) -> Any:
        raise RequestRejected(code)

    return reject


async def test_an_uploaded_file_is_sent_to_the_builds_service_in_chunks(stage: GatewayStage) -> None:
    response = await stage.http.post(ARTIFACTS_PATH, headers=TOKEN, files=FILE)
    assert response.status_code == 201
    chunks = [received.message for received in stage.services.received_of(AppendArtifactUpload)]
    assert [(chunk.offset, len(chunk.content)) for chunk in chunks] == [
        (0, CHUNK_BYTES),
        (CHUNK_BYTES, CHUNK_BYTES),
        (2 * CHUNK_BYTES, 5),
    ]
    (finish,) = stage.services.received_of(FinishArtifactUpload)
    assert (finish.message.size, finish.message.file_name) == (2 * CHUNK_BYTES + 5, "out.zip")


async def test_an_upload_during_an_outage_is_discarded_and_answered_with_503(stage: GatewayStage) -> None:
    stage.services.received.clear()
    await stage.services.serve(AppendArtifactUpload, reject_with("SERVICE_UNAVAILABLE"))
    response = await stage.http.post(ARTIFACTS_PATH, headers=TOKEN, files=FILE)
    assert response.status_code == 503
    assert [received.message.artifact_id for received in stage.services.received_of(DiscardArtifactUpload)] == ["a"]
    assert stage.services.received_of(FinishArtifactUpload) == []


async def test_a_download_whose_first_chunk_is_missing_is_404(stage: GatewayStage) -> None:
    await stage.services.serve(GetArtifactChunk, reject_with("ARTIFACT_NOT_FOUND"))
    assert (await stage.http.get(ARTIFACTS_PATH, headers=TOKEN)).status_code == 404


async def test_a_download_that_ends_early_breaks_the_connection(stage: GatewayStage) -> None:
    def read(query: GetArtifactChunk) -> str:
        if query.offset:
            raise RequestRejected("SERVICE_UNAVAILABLE")
        return "x" * (CHUNK_BYTES - 2)  # JSON adds two quotes

    await stage.services.serve(GetArtifactChunk, read)
    with pytest.raises(httpx.RemoteProtocolError):
        await stage.http.get(ARTIFACTS_PATH, headers=TOKEN)


async def test_a_multipart_body_with_too_much_data_after_its_end_is_413(stage: GatewayStage) -> None:
    await stage.services.serve(AppendArtifactUpload, lambda _: UPLOAD)
    stage.services.received.clear()

    async def body() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="out.zip"\r\n\r\none\r\n--x--\r\n'
        for _ in range(11):
            yield b"more" * (CHUNK_BYTES // 4)

    headers = {**TOKEN, "Content-Type": "multipart/form-data; boundary=x"}
    response = await stage.http.post(ARTIFACTS_PATH, headers=headers, content=body())
    assert response.status_code == 413
    assert stage.services.received_of(FinishArtifactUpload) == []
