"""Artifacts of GitLab's runner protocol: a form with a file up, its bytes down; neither is ever whole in memory."""

import base64
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope

from contracts.builds import (
    AppendArtifact,
    Artifact,
    ArtifactUpload,
    BeginArtifact,
    DiscardArtifact,
    FinishArtifact,
    GetArtifact,
)
from contracts.errors import Refused
from gateway.asked import World
from gateway.dialects.gitlab_runner import header, valid
from gateway.downloads import PIECE, download
from gateway.multipart import Form

OVERHEAD = 64 * 1024  # what a form may have besides its file
USUAL_NAMES = {"zip": "default.zip", "gzip": "default.gz", "raw": "default"}
PARAMETERS = ("artifact_type", "artifact_format", "expire_in")


async def upload(world: World, scope: Scope, receive: Receive) -> Response:
    """201. The parameters stand in the query or in the form, there also behind the file."""
    headers = dict(scope["headers"])
    job_id, token = scope["path_params"]["job_id"], header(headers, b"job-token")
    form = Form(headers.get(b"content-type", b""))
    began = await world.caller.tell(BeginArtifact(job_id=job_id, token=token))
    begun = ArtifactUpload.model_validate_json(began)
    try:
        length = header(headers, b"content-length")
        if length.isdigit() and int(length) > begun.longest + OVERHEAD:
            raise _too_large(begun)
        size = await _send_on(world, receive, form, begun)
        if not (form.complete and form.has_file):
            raise Refused("REQUEST_MALFORMED", "The form ends too early, or has no part called file.")
        sent = {**form.fields, **dict(parse_qsl(scope["query_string"].decode("latin-1")))}
        given = {name: sent[name] for name in PARAMETERS if sent.get(name)}
        name = form.file_name or USUAL_NAMES.get(given.get("artifact_format", "zip"), "default")
        finish = valid(
            FinishArtifact,
            job_id=job_id,
            token=token,
            artifact_id=begun.artifact_id,
            size=size,
            file_name=name,
            **given,
        )
        artifact = Artifact.model_validate_json(await world.caller.tell(finish))
    except (Refused, ClientDisconnect):
        with contextlib.suppress(Refused):  # only sooner: an upload that nobody goes on with is cleared away anyway
            await world.caller.tell(DiscardArtifact(artifact_id=begun.artifact_id))
        raise
    return JSONResponse({"id": artifact.id, "file_name": artifact.file_name, "size": artifact.size}, 201)


async def fetch(world: World, scope: Scope, _receive: Receive) -> Response:
    """The archive of a job; `direct_download` asks for a redirection, which there is none."""
    token = header(dict(scope["headers"]), b"job-token")
    answer = await world.caller.ask(GetArtifact(job_id=scope["path_params"]["job_id"], token=token))
    return await download(world, scope, Artifact.model_validate_json(answer))


async def _send_on(world: World, receive: Receive, form: Form, begun: ArtifactUpload) -> int:
    """Bring the file to the builds piece by piece; answers its size."""
    offset, waiting, came = 0, bytearray(), 0
    async for chunk in _chunks(receive):
        waiting += form.feed(chunk)
        came += len(chunk)
        if offset + len(waiting) > begun.longest or came > begun.longest + OVERHEAD:
            raise _too_large(begun)
        while len(waiting) >= PIECE:
            await _append(world, begun, offset, bytes(waiting[:PIECE]))
            offset += PIECE
            del waiting[:PIECE]
    if waiting:
        await _append(world, begun, offset, bytes(waiting))
    return offset + len(waiting)


async def _append(world: World, begun: ArtifactUpload, offset: int, content: bytes) -> None:
    piece = AppendArtifact(artifact_id=begun.artifact_id, offset=offset, content=base64.b64encode(content))
    await world.caller.tell(piece)


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _too_large(begun: ArtifactUpload) -> Refused:
    return Refused("ARTIFACT_TOO_LARGE", f"An artifact has at most {begun.longest} bytes.")
