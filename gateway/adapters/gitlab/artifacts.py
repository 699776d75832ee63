"""Artifact upload of GitLab's runner protocol, streamed in chunks."""

import base64
import contextlib
from urllib.parse import parse_qsl

from fastapi.exceptions import RequestValidationError
from starlette.requests import ClientDisconnect, Request

from contracts.builds import (
    AppendArtifactUpload,
    Artifact,
    ArtifactUpload,
    DiscardArtifactUpload,
    FinishArtifactUpload,
    StartArtifactUpload,
)
from contracts.errors import RequestRejected
from gateway.context import AppState
from gateway.forwarding.forward import build_message
from gateway.http.multipart import FileForm
from gateway.streaming.downloads import CHUNK_BYTES

MAX_FORM_OVERHEAD_BYTES = 64 * 1024  # limit of form fields and multipart headers, in addition to the file
DEFAULT_FILE_NAMES = {"zip": "default.zip", "gzip": "default.gz", "raw": "default"}
PARAMETERS = ("artifact_type", "artifact_format", "expire_in")


async def store_artifact(app_state: AppState, request: Request, job_id: int, token: str) -> Artifact:
    """Store an artifact of a job. An upload that fails is discarded.

    Parameters are in the query string, or in form fields before or after the file. The query string has precedence.
    """
    form = FileForm(request.headers.get("content-type", "").encode("latin-1"))
    answer = await app_state.bus.send(StartArtifactUpload(job_id=job_id, token=token))
    upload = ArtifactUpload.model_validate_json(answer)
    try:
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > upload.longest + MAX_FORM_OVERHEAD_BYTES:
            raise _too_large(upload)
        size = await _forward_file(app_state, request, form, upload)
        if not (form.complete and form.has_file):
            raise RequestRejected("REQUEST_MALFORMED", "The form is incomplete or has no part named file.")
        sent = {**form.fields, **dict(parse_qsl(request.scope["query_string"].decode("latin-1")))}
        parameters = {name: sent[name] for name in PARAMETERS if sent.get(name)}
        name = form.file_name or DEFAULT_FILE_NAMES.get(parameters.get("artifact_format", "zip"), "default")
        values = {"job_id": job_id, "token": token, "artifact_id": upload.artifact_id, "size": size, "file_name": name}
        finish = build_message(FinishArtifactUpload, {**values, **parameters})
        return Artifact.model_validate_json(await app_state.bus.send(finish))
    except (RequestRejected, RequestValidationError, ClientDisconnect):
        with contextlib.suppress(RequestRejected):  # best effort: abandoned uploads are removed later anyway
            await app_state.bus.send(DiscardArtifactUpload(artifact_id=upload.artifact_id))
        raise


async def _forward_file(app_state: AppState, request: Request, form: FileForm, upload: ArtifactUpload) -> int:
    """Forward the file to the builds service in chunks and return its size in bytes.

    Raises REQUEST_MALFORMED, and the errors of AppendArtifactUpload.
    """
    offset, pending, received = 0, bytearray(), 0
    async for chunk in request.stream():
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


def _too_large(upload: ArtifactUpload) -> RequestRejected:
    return RequestRejected("ARTIFACT_TOO_LARGE", f"An artifact can have at most {upload.longest} bytes.")
