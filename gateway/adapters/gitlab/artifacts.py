"""Artifact upload and download of GitLab's runner protocol, streamed in chunks."""

import base64
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

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

MAX_FORM_OVERHEAD_BYTES = 64 * 1024  # limit of form fields and multipart headers, in addition to the file
DEFAULT_FILE_NAMES = {"zip": "default.zip", "gzip": "default.gz", "raw": "default"}
PARAMETERS = ("artifact_type", "artifact_format", "expire_in")


async def upload_artifact(app_state: AppState, request: Request) -> Response:
    """Store an artifact and respond 201. Parameters are in the query string or in form fields, even after the file."""
    headers = dict(request.scope["headers"])
    job_id, token = request.path_params["job_id"], read_header(headers, b"job-token")
    form = FileForm(headers.get(b"content-type", b""))
    answer = await app_state.bus.send(StartArtifactUpload(job_id=job_id, token=token))
    upload = ArtifactUpload.model_validate_json(answer)
    try:
        length = read_header(headers, b"content-length")
        if length.isdigit() and int(length) > upload.longest + MAX_FORM_OVERHEAD_BYTES:
            raise _too_large(upload)
        size = await _forward_file(app_state, request, form, upload)
        if not (form.complete and form.has_file):
            raise RequestRejected("REQUEST_MALFORMED", "The form is incomplete or has no part named file.")
        sent = {**form.fields, **dict(parse_qsl(request.scope["query_string"].decode("latin-1")))}
        parameters = {name: sent[name] for name in PARAMETERS if sent.get(name)}
        name = form.file_name or DEFAULT_FILE_NAMES.get(parameters.get("artifact_format", "zip"), "default")
        finish = validate(
            FinishArtifactUpload,
            job_id=job_id,
            token=token,
            artifact_id=upload.artifact_id,
            size=size,
            file_name=name,
            **parameters,
        )
        artifact = Artifact.model_validate_json(await app_state.bus.send(finish))
    except (RequestRejected, ClientDisconnect):
        with contextlib.suppress(RequestRejected):  # best effort: abandoned uploads are removed later anyway
            await app_state.bus.send(DiscardArtifactUpload(artifact_id=upload.artifact_id))
        raise
    return JSONResponse({"id": artifact.id, "file_name": artifact.file_name, "size": artifact.size}, 201)


async def download_artifact(app_state: AppState, request: Request) -> Response:
    """Send a job's artifact archive. `direct_download` is ignored: there is no object storage URL to redirect to."""
    token = read_header(dict(request.scope["headers"]), b"job-token")
    answer = await app_state.bus.query(GetArtifact(job_id=request.path_params["job_id"], token=token))
    return await send_artifact(app_state, request.scope, Artifact.model_validate_json(answer))


async def _forward_file(app_state: AppState, request: Request, form: FileForm, upload: ArtifactUpload) -> int:
    """Forward the file to the builds service in chunks and return its size in bytes. Raises ARTIFACT_TOO_LARGE."""
    offset, pending, received = 0, bytearray(), 0
    async for chunk in _body_chunks(request):
        pending += form.feed(chunk)
        received += len(chunk)
        if offset + len(pending) > upload.longest or received > upload.longest + MAX_FORM_OVERHEAD_BYTES:
            raise _too_large(upload)
        while len(pending) >= CHUNK_BYTES:
            await _append_chunk(app_state, upload, offset, bytes(pending[:CHUNK_BYTES]))
            offset += CHUNK_BYTES
            del pending[:CHUNK_BYTES]
    if pending:
        await _append_chunk(app_state, upload, offset, bytes(pending))
    return offset + len(pending)


async def _append_chunk(app_state: AppState, upload: ArtifactUpload, offset: int, content: bytes) -> None:
    command = AppendArtifactUpload(artifact_id=upload.artifact_id, offset=offset, content=base64.b64encode(content))
    await app_state.bus.send(command)


async def _body_chunks(request: Request) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _too_large(upload: ArtifactUpload) -> RequestRejected:
    return RequestRejected("ARTIFACT_TOO_LARGE", f"An artifact can have at most {upload.longest} bytes.")
