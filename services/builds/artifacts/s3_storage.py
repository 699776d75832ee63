"""Artifacts in an S3-compatible bucket: an object per piece, so that any replica goes on with any upload."""

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
from libs.settings import BucketSettings
from services.builds.artifacts.blob_store import BlobStore

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

log = logging.getLogger("headrace.builds.bucket")

REQUEST_TIMEOUT = timedelta(seconds=4)  # the gateway waits 5 s until a piece is taken
CONNECT_TIMEOUT = timedelta(seconds=2)
STORE_ERRORS = (BaseError, FileNotFoundError, PermissionError)
RETRY_TIMEOUT = timedelta(seconds=1)  # what failed as quickly as a connection that was closed meanwhile is tried again


class S3BlobStore:
    """What is not there may still lie in the database, from before there was a bucket."""

    def __init__(self, bucket: BucketSettings, folder: str, fallback: BlobStore, ca_file: Path | None = None) -> None:
        self._store = _open_store(bucket, folder, ca_file)
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


async def find_bucket_problem(bucket: BucketSettings, folder: str, ca_file: Path | None) -> str | None:
    """Why the bucket cannot be used as artifacts need it, in the store's words; leaves nothing in it."""
    store = _open_store(bucket, folder, ca_file)
    place = f"doctor/{uuid4()}"
    try:
        await obstore.put_async(store, place, b"here", use_multipart=False)
        await obstore.get_async(store, place)
        await obstore.list(store, prefix="doctor").collect_async()
        await obstore.delete_async(store, place)
    except STORE_ERRORS as error:
        return _error_text(error)
    return None


def _open_store(bucket: BucketSettings, folder: str, ca_file: Path | None) -> S3Store:
    config: S3Config = {"region": bucket.region}
    if bucket.endpoint:
        config["endpoint"] = bucket.endpoint
    if bucket.access_key:
        config |= {"access_key_id": bucket.access_key, "secret_access_key": bucket.secret_key}
    client: ClientConfig = {
        "allow_http": bucket.endpoint.startswith("http://"),
        "timeout": REQUEST_TIMEOUT,
        "connect_timeout": CONNECT_TIMEOUT,
    }
    if ca_file:
        client["root_certificate"] = ca_file.read_bytes()
    retries: RetryConfig = {"max_retries": 1, "retry_timeout": RETRY_TIMEOUT}
    return S3Store(bucket.name, prefix=folder, config=config, client_options=client, retry_config=retries)


def _object_key(file_id: str, offset: int) -> str:
    return f"{file_id}/{offset:014d}"


@contextmanager
def _translate_errors() -> Iterator[None]:
    """A bucket that does not answer, is missing or refuses us: a reason for the log, a code for the client."""
    try:
        yield
    except STORE_ERRORS as error:
        log.warning("the bucket of artifacts cannot be used: %s", _error_text(error))
        raise RequestRejected("ARTIFACT_STORE_UNAVAILABLE") from None


def _error_text(error: Exception) -> str:
    """Without the library's inner objects, of which only one says something that nothing else does."""
    told, _, inner = str(error).partition("Debug source")
    why = "; its certificate is not trusted: HEADRACE_CA_FILE" if "InvalidCertificate" in inner else ""
    return " ".join(told.split())[:400] + why
