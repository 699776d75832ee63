"""Downloads of artifacts and logs, streamed in chunks.

Browsers save artifacts and log files instead of rendering them.
"""

import logging
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Scope

from contracts.builds import Artifact, GetArtifactChunk, GetTrace, JobFile, TraceChunk
from contracts.errors import RequestRejected
from gateway.forwarding.paged_queries import Fetch
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import MessageClient

log = logging.getLogger("headrace.gateway")

CHUNK_BYTES = 512 * 1024  # maximum part of an artifact in a message; in base64, it fits into NATS's default, 1 MiB
TIMEOUT_SECONDS = 10.0
BINARY_MEDIA_TYPE = "application/octet-stream"
BINARY_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"content": {BINARY_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
}
TEXT_CONTENT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
"""Documentation of downloads, for the argument `responses` of a route."""


async def send_artifact(bus: MessageClient, scope: Scope, artifact: Artifact, reader: Actor) -> Response:
    """Stream an artifact. The first chunk is read before the status is sent; a later failure aborts the connection."""
    headers = {"Content-Length": str(artifact.size), **_attachment_headers(artifact)}
    if scope.get("requested_method") == "HEAD":
        return Response(headers=headers, media_type=BINARY_MEDIA_TYPE)
    fetch = partial(bus.query, actor=reader, timeout=TIMEOUT_SECONDS)
    first = await _read_chunk(fetch, artifact, 0) if artifact.size else b""
    return StreamingResponse(_iterate_chunks(fetch, artifact, first), headers=headers, media_type=BINARY_MEDIA_TYPE)


async def send_log_file(bus: MessageClient, file: JobFile, reader: Actor) -> Response:
    """Stream a job's log as a file, up to its current end if the job runs. Its length is not sent: it may grow."""
    return await send_log(bus, GetTrace(job_id=file.job_id), _attachment_headers(file), reader)


async def send_log(bus: MessageClient, query: GetTrace, headers: Mapping[str, str], reader: Actor) -> Response:
    """Stream a job's log as text. The first part is read before the status is sent."""
    fetch = partial(bus.query, actor=reader, timeout=TIMEOUT_SECONDS)
    first = await _read_log_part(fetch, query)
    return StreamingResponse(_iterate_log(fetch, query, first), headers=headers, media_type="text/plain")


async def _iterate_log(fetch: Fetch, query: GetTrace, part: TraceChunk) -> AsyncIterator[bytes]:
    yield _encode_lines(part)
    while part.more:
        try:
            part = await _read_log_part(fetch, query.replace(section=part.section, line_number=part.line_number))
        except RequestRejected as rejection:
            log.warning("download of the log of job %d aborted: %s", query.job_id, rejection.code)
            raise DownloadAborted from rejection
        yield _encode_lines(part)


async def _read_log_part(fetch: Fetch, query: GetTrace) -> TraceChunk:
    return TraceChunk.model_validate_json(await fetch(query))


def _encode_lines(part: TraceChunk) -> bytes:
    return "".join(f"{line}\n" for line in part.lines).encode()


def _attachment_headers(artifact: Artifact) -> dict[str, str]:
    return {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(artifact.file_name, safe='')}",
        "Cache-Control": "private, no-store",
    }


class DownloadAborted(ClientDisconnect):
    """Ends the connection of a download after its status was sent, so that the client detects the missing rest."""


async def _iterate_chunks(fetch: Fetch, artifact: Artifact, chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk
    offset = len(chunk)
    while offset < artifact.size:
        try:
            chunk = await _read_chunk(fetch, artifact, offset)
        except RequestRejected as rejection:
            log.warning("download of artifact %s aborted at byte %d: %s", artifact.id, offset, rejection.code)
            raise DownloadAborted from rejection
        yield chunk
        offset += len(chunk)


async def _read_chunk(fetch: Fetch, artifact: Artifact, offset: int) -> bytes:
    chunk = await fetch(GetArtifactChunk(artifact_id=artifact.id, offset=offset))
    if not chunk:
        raise RequestRejected("ARTIFACT_NOT_FOUND")
    return chunk
