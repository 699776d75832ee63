"""Files on their way to a client: read piece by piece, always saved and never shown by a browser."""

import logging
from collections.abc import AsyncIterator, Mapping
from urllib.parse import quote

from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Scope

from contracts.builds import Artifact, FileOfJob, ReadArtifact, ReadTrace, TracePart
from contracts.errors import Refused
from gateway.asked import World

log = logging.getLogger("headrace.gateway")

PIECE = 512 * 1024  # a message on the bus holds 1 MiB where nobody raised the limit, and base64 adds a third
BINARY = "application/octet-stream"


async def download(world: World, scope: Scope, artifact: Artifact) -> Response:
    """Its first piece is there before the status goes out; what is lost later breaks the connection off."""
    headers = {"Content-Length": str(artifact.size), **_saved(artifact)}
    if scope["method"] == "HEAD":
        return Response(headers=headers, media_type=BINARY)
    first = await _piece(world, artifact, 0) if artifact.size else b""
    return StreamingResponse(_pieces(world, artifact, first), headers=headers, media_type=BINARY)


async def download_log(world: World, log_of: FileOfJob) -> Response:
    """Of a job that is at work as much as there is; its size may change meanwhile, so it is not told."""
    return await stream_log(world, ReadTrace(job_id=log_of.job_id), _saved(log_of))


async def stream_log(world: World, wanted: ReadTrace, headers: Mapping[str, str]) -> Response:
    first = await _part(world, wanted)
    return StreamingResponse(_parts(world, wanted, first), headers=headers, media_type="text/plain")


async def _parts(world: World, wanted: ReadTrace, part: TracePart) -> AsyncIterator[bytes]:
    yield _text(part)
    while part.more:
        try:
            part = await _part(world, wanted.but(section=part.section, line_number=part.line_number))
        except Refused as refused:
            log.warning("the log of job %d broke off: %s", wanted.job_id, refused.code)
            raise BrokenOff from refused
        yield _text(part)


async def _part(world: World, query: ReadTrace) -> TracePart:
    return TracePart.model_validate_json(await world.caller.ask(query, timeout=10))


def _text(part: TracePart) -> bytes:
    return "".join(f"{line}\n" for line in part.lines).encode()


def _saved(artifact: Artifact) -> dict[str, str]:
    return {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(artifact.file_name, safe='')}",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-store",
    }


class BrokenOff(ClientDisconnect):
    """The status is out, so all that is left is to end the connection: the length shows that bytes are missing."""


async def _pieces(world: World, artifact: Artifact, piece: bytes) -> AsyncIterator[bytes]:
    yield piece
    offset = len(piece)
    while offset < artifact.size:
        try:
            piece = await _piece(world, artifact, offset)
        except Refused as refused:
            log.warning("artifact %s broke off at %d bytes: %s", artifact.id, offset, refused.code)
            raise BrokenOff from refused
        yield piece
        offset += len(piece)


async def _piece(world: World, artifact: Artifact, offset: int) -> bytes:
    piece = await world.caller.ask(ReadArtifact(artifact_id=artifact.id, offset=offset), timeout=10)
    if not piece:
        raise Refused("ARTIFACT_NOT_FOUND")
    return piece
