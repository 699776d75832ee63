"""Artifact storage in an S3-compatible bucket: one object per chunk, so that any replica can continue any upload."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from contracts.errors import RequestRejected
from libs.service.declaration import Context
from libs.settings import S3Settings
from services.builds.artifacts.blob_store import BlobStore

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

log = logging.getLogger("headrace.builds.bucket")

REQUEST_TIMEOUT = timedelta(seconds=4)  # less than the time for which the gateway waits for a reply
CONNECT_TIMEOUT = timedelta(seconds=2)
STORE_ERRORS = (BaseError, FileNotFoundError, PermissionError)
RETRY_TIMEOUT = timedelta(seconds=1)  # enough to retry after errors that occur at once, such as a closed connection


class S3BlobStore:
    """Stores chunks in a bucket. Chunks from before the bucket was configured are read from the fallback store."""

    def __init__(self, s3: S3Settings, folder: str, fallback: BlobStore, ca_file: Path | None = None) -> None:
        self._store = _open_store(s3, folder, ca_file)
        self._fallback = fallback

    async def write(self, ctx: Context, file_id: str, offset: int, content: bytes) -> None:
        with _translate_errors():
            await obstore.put_async(self._store, _object_key(file_id, offset), content, use_multipart=False)

    async def read(self, ctx: Context, file_id: str, offset: int) -> bytes | None:
        with _translate_errors():
            try:
                found = await obstore.get_async(self._store, _object_key(file_id, offset))
                return bytes(await found.bytes_async())
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
        return await self._fallback.read(ctx, file_id, offset)

    async def remove(self, ctx: Context, file_ids: Sequence[str]) -> None:
        with _translate_errors():
            for file_id in file_ids:
                async for pieces in obstore.list(self._store, prefix=file_id):
                    await obstore.delete_async(self._store, [piece["path"] for piece in pieces])
        await self._fallback.remove(ctx, file_ids)


async def find_bucket_problem(s3: S3Settings, folder: str, ca_file: Path | None) -> str | None:
    """Write, read, list and delete an object. Return the error as text, or None.

    If a step fails, the object may remain in the bucket.
    """
    store = _open_store(s3, folder, ca_file)
    place = f"doctor/{uuid4()}"
    try:
        await obstore.put_async(store, place, b"here", use_multipart=False)
        await obstore.get_async(store, place)
        await obstore.list(store, prefix="doctor").collect_async()
        await obstore.delete_async(store, place)
    except STORE_ERRORS as error:
        return _error_text(error)
    return None


def _open_store(s3: S3Settings, folder: str, ca_file: Path | None) -> S3Store:
    config: S3Config = {"region": s3.region}
    if s3.endpoint:
        config["endpoint"] = s3.endpoint
    if s3.access_key:
        config |= {"access_key_id": s3.access_key, "secret_access_key": s3.secret_key}
    client: ClientConfig = {
        "allow_http": s3.endpoint.startswith("http://"),
        "timeout": REQUEST_TIMEOUT,
        "connect_timeout": CONNECT_TIMEOUT,
    }
    if ca_file:
        client["root_certificate"] = ca_file.read_bytes()
    retries: RetryConfig = {"max_retries": 1, "retry_timeout": RETRY_TIMEOUT}
    return S3Store(s3.bucket, prefix=folder, config=config, client_options=client, retry_config=retries)


def _object_key(file_id: str, offset: int) -> str:
    return f"{file_id}/{offset:014d}"


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Turn storage errors into ARTIFACT_STORE_UNAVAILABLE for the client, and log the reason."""
    try:
        yield
    except STORE_ERRORS as error:
        log.warning("artifact storage unavailable: %s", _error_text(error))
        raise RequestRejected("ARTIFACT_STORE_UNAVAILABLE") from None


def _error_text(error: Exception) -> str:
    """Return the error message without the library's debug output, with a hint if a certificate is not trusted."""
    message, _, inner = str(error).partition("Debug source")
    hint = "; its certificate is not trusted: HEADRACE_CA_FILE" if "InvalidCertificate" in inner else ""
    return " ".join(message.split())[:400] + hint
