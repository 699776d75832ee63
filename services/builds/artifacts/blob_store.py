"""Where the bytes of artifacts lie: pieces, each found by the file it belongs to and its offset in it."""

from collections.abc import Sequence
from typing import Protocol

from libs.service.declaration import Context
from libs.settings import Settings


class BlobStore(Protocol):
    """Knows nothing of jobs; all of it may be repeated."""

    async def write(self, ctx: Context, file_id: str, offset: int, content: bytes) -> None: ...

    async def read(self, ctx: Context, file_id: str, offset: int) -> bytes | None:
        """The piece that begins there."""
        ...

    async def remove(self, ctx: Context, file_ids: Sequence[str]) -> None: ...


class MongoBlobStore:
    """A document per piece; far below the 16 MiB that one may have."""

    async def write(self, ctx: Context, file_id: str, offset: int, content: bytes) -> None:
        place = {"file": file_id, "offset": offset}
        await ctx.collection("file_pieces").replace_one(place, {**place, "content": content}, upsert=True)

    async def read(self, ctx: Context, file_id: str, offset: int) -> bytes | None:
        found = await ctx.collection("file_pieces").find_one({"file": file_id, "offset": offset})
        return None if found is None else bytes(found["content"])

    async def remove(self, ctx: Context, file_ids: Sequence[str]) -> None:
        await ctx.collection("file_pieces").delete_many({"file": {"$in": list(file_ids)}})


def create_blob_store(settings: Settings) -> BlobStore:
    """Where new artifacts go."""
    if settings.bucket is None:
        return MongoBlobStore()
    from services.builds.artifacts.s3_storage import (
        S3BlobStore,  # here: its library takes memory that others need not pay
    )

    return S3BlobStore(settings.bucket, f"{settings.database_prefix}/artifacts", MongoBlobStore(), settings.ca_file)
