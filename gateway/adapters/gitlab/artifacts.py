"""Artifacts of GitLab's runner protocol: a form with a file up, its bytes down; neither is ever whole in memory."""

import base64
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope

from contracts.builds import (
    AppendArtifactUpload,
    Artifact,
    ArtifactUpload,
    DiscardArtifactUpload,
    FinishArtifactUpload,
    GetArtifact,
    StartArtifactUpload,
)
from contracts.errors import RequestRejected
from gateway.adapters.gitlab.runner_api import read_header, validate
from gateway.context import AppState
from gateway.http.multipart import FileForm
from gateway.streaming.downloads import CHUNK_BYTES, send_artifact

MAX_FORM_OVERHEAD_BYTES = 64 * 1024  # what a form may have besides its file
DEFAULT_FILE_NAMES = {"zip": "default.zip", "gzip": "default.gz", "raw": "default"}
PARAMETERS = ("artifact_type", "artifact_format", "expire_in")


async def upload_artifact(world: AppState, scope: Scope, receive: Receive) -> Response:
    """201. The parameters stand in the query or in the form, there also behind the file."""
    headers = dict(scope["headers"])
    job_id, token = scope["path_params"]["job_id"], read_header(headers, b"job-token")
    form = FileForm(headers.get(b"content-type", b""))
    began = await world.bus.send(StartArtifactUpload(job_id=job_id, token=token))
    begun = ArtifactUpload.model_validate_json(began)
    try:
        length = read_header(headers, b"content-length")
        if length.isdigit() and int(length) > begun.longest + MAX_FORM_OVERHEAD_BYTES:
            raise _too_large(begun)
        size = await _forward_file(world, receive, form, begun)
        if not (form.complete and form.has_file):
            raise RequestRejected("REQUEST_MALFORMED", "The form ends too early, or has no part called file.")
        sent = {**form.fields, **dict(parse_qsl(scope["query_string"].decode("latin-1")))}
        given = {name: sent[name] for name in PARAMETERS if sent.get(name)}
        name = form.file_name or DEFAULT_FILE_NAMES.get(given.get("artifact_format", "zip"), "default")
        finish = validate(
            FinishArtifactUpload,
            job_id=job_id,
            token=token,
            artifact_id=begun.artifact_id,
            size=size,
            file_name=name,
            **given,
        )
        artifact = Artifact.model_validate_json(await world.bus.send(finish))
    except (RequestRejected, ClientDisconnect):
        with contextlib.suppress(
            RequestRejected
        ):  # only sooner: an upload that nobody goes on with is cleared away anyway
            await world.bus.send(DiscardArtifactUpload(artifact_id=begun.artifact_id))
        raise
    return JSONResponse({"id": artifact.id, "file_name": artifact.file_name, "size": artifact.size}, 201)


async def download_artifact(world: AppState, scope: Scope, _receive: Receive) -> Response:
    """The archive of a job; `direct_download` asks for a redirection, which there is none."""
    token = read_header(dict(scope["headers"]), b"job-token")
    answer = await world.bus.query(GetArtifact(job_id=scope["path_params"]["job_id"], token=token))
    return await send_artifact(world, scope, Artifact.model_validate_json(answer))


async def _forward_file(world: AppState, receive: Receive, form: FileForm, begun: ArtifactUpload) -> int:
    """Bring the file to the builds piece by piece; answers its size."""
    offset, waiting, came = 0, bytearray(), 0
    async for chunk in _body_chunks(receive):
        waiting += form.feed(chunk)
        came += len(chunk)
        if offset + len(waiting) > begun.longest or came > begun.longest + MAX_FORM_OVERHEAD_BYTES:
            raise _too_large(begun)
        while len(waiting) >= CHUNK_BYTES:
            await _append_chunk(world, begun, offset, bytes(waiting[:CHUNK_BYTES]))
            offset += CHUNK_BYTES
            del waiting[:CHUNK_BYTES]
    if waiting:
        await _append_chunk(world, begun, offset, bytes(waiting))
    return offset + len(waiting)


async def _append_chunk(world: AppState, begun: ArtifactUpload, offset: int, content: bytes) -> None:
    piece = AppendArtifactUpload(artifact_id=begun.artifact_id, offset=offset, content=base64.b64encode(content))
    await world.bus.send(piece)


async def _body_chunks(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _too_large(begun: ArtifactUpload) -> RequestRejected:
    return RequestRejected("ARTIFACT_TOO_LARGE", f"An artifact has at most {begun.longest} bytes.")
