"""Masking of secrets in logs: encrypted storage of the values to mask and of log bytes that are not masked yet."""

import json
from collections.abc import Sequence

from cachetools import LRUCache

from contracts.builds import JobRow
from libs.security.masking import SecretMasker
from libs.service.declaration import Context

MAX_CACHED_MASKERS = 256


class LogMaskers:
    """Maskers of running attempts, cached in this process."""

    def __init__(self) -> None:
        self._cache: LRUCache[str, SecretMasker] = LRUCache(MAX_CACHED_MASKERS)

    async def get(
        self, ctx: Context, project_id: int, attempt_id: str, encrypted_values: str, nonce: str
    ) -> SecretMasker:
        """Return the masker of an attempt. It never masks section markers that contain the nonce."""
        masker = self._cache.get(attempt_id)
        if masker is None:
            values = json.loads(await decrypt_log_text(ctx, project_id, encrypted_values) or "[]")
            masker = self._cache[attempt_id] = SecretMasker(values, [nonce])
        return masker

    def discard(self, attempt_id: str) -> None:
        self._cache.pop(attempt_id, None)


async def encrypt_masked_values(ctx: Context, project_id: int, values: Sequence[str]) -> str:
    """Return the values to mask as encrypted JSON, or an empty string if there are no values."""
    return await encrypt_log_text(ctx, project_id, json.dumps(list(values)) if values else "")


async def find_masked_values(ctx: Context, job: JobRow) -> str:
    """Return the encrypted values to mask of the current attempt of a job, or an empty string if it has ended."""
    attempt = await ctx.collection("attempts").find_one({"_id": job.token_hash}, {"masks": 1})
    return str(attempt["masks"]) if attempt else ""


async def decrypt_masker(ctx: Context, project_id: int, encrypted_values: str) -> SecretMasker:
    """Return the masker for encrypted values to mask."""
    return SecretMasker(json.loads(await decrypt_log_text(ctx, project_id, encrypted_values) or "[]"))


async def encrypt_log_text(ctx: Context, project_id: int, text: str) -> str:
    return await ctx.vault.encrypt(log_key_name(project_id), text) if text else ""


async def decrypt_log_text(ctx: Context, project_id: int, encrypted: str) -> str:
    return await ctx.vault.decrypt(log_key_name(project_id), encrypted) if encrypted else ""


def log_key_name(project_id: int) -> str:
    """Return the name of the data key for a project's logs. Deleting the key makes the encrypted values unreadable."""
    return f"logs-of-project-{project_id}"
