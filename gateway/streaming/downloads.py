"""Files on their way to a client: read piece by piece, always saved and never shown by a browser."""

import logging
from collections.abc import AsyncIterator, Mapping
from urllib.parse import quote

from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Scope

from contracts.builds import Artifact, GetArtifactChunk, GetTrace, JobFile, TraceChunk
from contracts.errors import RequestRejected
from gateway.context import AppState

log = logging.getLogger("headrace.gateway")

CHUNK_BYTES = 512 * 1024  # a message on the bus holds 1 MiB where nobody raised the limit, and base64 adds a third
BINARY_MEDIA_TYPE = "application/octet-stream"


async def send_artifact(world: AppState, scope: Scope, artifact: Artifact) -> Response:
    """Its first piece is there before the status goes out; what is lost later breaks the connection off."""
    headers = {"Content-Length": str(artifact.size), **_attachment_headers(artifact)}
    if scope["method"] == "HEAD":
        return Response(headers=headers, media_type=BINARY_MEDIA_TYPE)
    first = await _read_chunk(world, artifact, 0) if artifact.size else b""
    return StreamingResponse(_iterate_chunks(world, artifact, first), headers=headers, media_type=BINARY_MEDIA_TYPE)


async def send_log_file(world: AppState, log_of: JobFile) -> Response:
    """Of a job that is at work as much as there is; its size may change meanwhile, so it is not told."""
    return await send_log(world, GetTrace(job_id=log_of.job_id), _attachment_headers(log_of))


async def send_log(world: AppState, wanted: GetTrace, headers: Mapping[str, str]) -> Response:
    first = await _read_log_part(world, wanted)
    return StreamingResponse(_iterate_log(world, wanted, first), headers=headers, media_type="text/plain")


async def _iterate_log(world: AppState, wanted: GetTrace, part: TraceChunk) -> AsyncIterator[bytes]:
    yield _encode_lines(part)
    while part.more:
        try:
            part = await _read_log_part(world, wanted.replace(section=part.section, line_number=part.line_number))
        except RequestRejected as refused:
            log.warning("the log of job %d broke off: %s", wanted.job_id, refused.code)
            raise DownloadAborted from refused
        yield _encode_lines(part)


async def _read_log_part(world: AppState, query: GetTrace) -> TraceChunk:
    return TraceChunk.model_validate_json(await world.bus.query(query, timeout=10))


def _encode_lines(part: TraceChunk) -> bytes:
    return "".join(f"{line}\n" for line in part.lines).encode()


def _attachment_headers(artifact: Artifact) -> dict[str, str]:
    return {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(artifact.file_name, safe='')}",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-store",
    }


class DownloadAborted(ClientDisconnect):
    """The status is out, so all that is left is to end the connection: the length shows that bytes are missing."""


async def _iterate_chunks(world: AppState, artifact: Artifact, piece: bytes) -> AsyncIterator[bytes]:
    yield piece
    offset = len(piece)
    while offset < artifact.size:
        try:
            piece = await _read_chunk(world, artifact, offset)
        except RequestRejected as refused:
            log.warning("artifact %s broke off at %d bytes: %s", artifact.id, offset, refused.code)
            raise DownloadAborted from refused
        yield piece
        offset += len(piece)


async def _read_chunk(world: AppState, artifact: Artifact, offset: int) -> bytes:
    piece = await world.bus.query(GetArtifactChunk(artifact_id=artifact.id, offset=offset), timeout=10)
    if not piece:
        raise RequestRejected("ARTIFACT_NOT_FOUND")
    return piece
