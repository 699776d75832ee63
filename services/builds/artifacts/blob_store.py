"""Storage of artifact bytes in chunks, addressed by file id and offset."""

from collections.abc import Sequence
from typing import Protocol

from libs.service.declaration import Context


class BlobStore(Protocol):
    """A store of file chunks. All operations are idempotent."""

    async def write(self, ctx: Context, file_id: str, offset: int, content: bytes) -> None:
        """Store a chunk. An existing chunk at the same offset is replaced."""
        ...

    async def read(self, ctx: Context, file_id: str, offset: int) -> bytes | None:
        """Return the chunk that starts at the offset, or None."""
        ...

    async def remove(self, ctx: Context, file_ids: Sequence[str]) -> None:
        """Delete all chunks of these files."""
        ...


class MongoBlobStore:
    """Stores each chunk as a document in MongoDB. Chunks are far below the limit of 16 MiB for a document."""

    async def write(self, ctx: Context, file_id: str, offset: int, content: bytes) -> None:
        key = {"file": file_id, "offset": offset}
        await ctx.collection("file_pieces").replace_one(key, {**key, "content": content}, upsert=True)

    async def read(self, ctx: Context, file_id: str, offset: int) -> bytes | None:
        found = await ctx.collection("file_pieces").find_one({"file": file_id, "offset": offset})
        return None if found is None else bytes(found["content"])

    async def remove(self, ctx: Context, file_ids: Sequence[str]) -> None:
        await ctx.collection("file_pieces").delete_many({"file": {"$in": list(file_ids)}})
