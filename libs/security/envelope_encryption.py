"""Envelope encryption: AES-256-GCM with a data key per subject, each wrapped by a master key.

Deleting a subject's data key makes everything encrypted for the subject unreadable, wherever the ciphertext is stored.
"""

import base64
import binascii
import hashlib
import hmac
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

from cachetools import TTLCache
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pymongo import ReadPreference, ReturnDocument, WriteConcern
from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document
from libs.security.erased_keys import KeyErased

FORMAT_PREFIX = "s1."
KEY_BYTES = 32
NONCE_BYTES = 12


class DecryptionFailed(Exception):
    """The ciphertext was altered or truncated, or belongs to another subject."""


class MasterKeyMissing(Exception):
    """A data key is wrapped by a master key that this process does not have."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"the master key {key_id} is missing: append it to HEADRACE_MASTER_KEY")
        self.key_id = key_id


class Encryption(Protocol):
    async def encrypt(self, subject: str, plaintext: str) -> str: ...

    async def decrypt(self, subject: str, sealed: str) -> str: ...

    async def decrypt_many(self, sealed: Mapping[str, str]) -> dict[str, str]: ...

    async def mac(self, subject: str, text: str) -> str:
        """Return a keyed hash of 43 characters, which cannot be computed without the subject's key."""
        ...

    async def shred(self, subject: str) -> None: ...

    async def rewrap(self) -> int: ...


def generate_master_key() -> str:
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


@dataclass(frozen=True)
class MasterKeys:
    keys: Mapping[str, bytes] = field(repr=False)
    current: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse comma-separated base64 keys of 32 bytes. The first key wraps data keys; the others only unwrap them."""
        return cls.from_keys(
            [_parse_master_key(part.strip(), number) for number, part in enumerate(text.split(","), start=1)]
        )

    @classmethod
    def from_keys(cls, keys: Sequence[bytes]) -> Self:
        by_id = {hashlib.sha256(key).hexdigest()[:8]: key for key in keys}
        return cls(by_id, next(iter(by_id)))

    def wrap(self, subject: str, data_key: bytes) -> bytes:
        return _encrypt(self.keys[self.current], subject, data_key)

    def unwrap(self, key_id: str, subject: str, wrapped: bytes) -> bytes:
        if key_id not in self.keys:
            raise MasterKeyMissing(key_id)
        return _decrypt(self.keys[key_id], subject, wrapped)


def _parse_master_key(text: str, number: int) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"master key number {number} is not the base64 of {KEY_BYTES} bytes")
    return key


def _encrypt(key: bytes, subject: str, plain: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, subject.encode())


def _decrypt(key: bytes, subject: str, secret: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(secret[:NONCE_BYTES], secret[NONCE_BYTES:], subject.encode())
    except (InvalidTag, ValueError) as error:  # ValueError: shorter than a nonce
        raise DecryptionFailed(subject) from error


def _mac(key: bytes, text: str) -> str:
    digest = hmac.new(key, b"mac:" + text.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _encode(secret: bytes) -> str:
    return FORMAT_PREFIX + base64.urlsafe_b64encode(secret).decode()


def _decode(subject: str, sealed: str) -> bytes:
    try:
        secret = base64.urlsafe_b64decode(sealed.removeprefix(FORMAT_PREFIX))
    except (binascii.Error, ValueError) as error:
        raise DecryptionFailed(subject) from error
    if _encode(secret) != sealed:  # the decoder ignores invalid characters
        raise DecryptionFailed(subject)
    return secret


class KeyVault:
    """Data keys in MongoDB, with a short-lived cache.

    A process may use a deleted key from its cache for up to `cache_seconds`; what it encrypts with this key becomes
    unreadable, too.
    """

    def __init__(
        self,
        database: AsyncDatabase[Document],
        master: MasterKeys,
        *,
        cache_seconds: float = 60,
        cache_size: int = 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # if a failover rolled back a key, everything encrypted with it would be lost
        self._data_keys = database.get_collection(
            "data_keys", read_preference=ReadPreference.PRIMARY, write_concern=WriteConcern("majority", j=True)
        )
        self._master = master
        self._cache: TTLCache[str, bytes] = TTLCache(cache_size, cache_seconds, clock)

    async def encrypt(self, subject: str, plaintext: str) -> str:
        return _encode(_encrypt(await self._get_or_create_key(subject), subject, plaintext.encode()))

    async def mac(self, subject: str, text: str) -> str:
        return _mac(await self._get_or_create_key(subject), text)

    async def _get_or_create_key(self, subject: str) -> bytes:
        """Return the subject's data key, creating it on first use."""
        data_key = self._cache.get(subject)
        if data_key is None:
            fresh = self._master.wrap(subject, os.urandom(KEY_BYTES))
            # of several concurrent callers one inserts the key; the write concern makes all wait until it is durable
            stored = await self._data_keys.find_one_and_update(
                {"_id": subject},
                {"$setOnInsert": {"wrapped": fresh, "kid": self._master.current}},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
            data_key = self._unwrap_and_cache(subject, stored)
        return data_key

    async def decrypt(self, subject: str, sealed: str) -> str:
        secret = _decode(subject, sealed)
        data_key = self._cache.get(subject)
        if data_key is None:
            stored = await self._data_keys.find_one({"_id": subject})
            data_key = self._unwrap_and_cache(subject, stored)
        return _decrypt(data_key, subject, secret).decode()

    async def decrypt_many(self, sealed: Mapping[str, str]) -> dict[str, str]:
        """Decrypt one text per subject with a single query. Subjects without a key are left out."""
        keys = {subject: self._cache.get(subject) for subject in sealed}
        missing = [subject for subject, data_key in keys.items() if data_key is None]
        if missing:
            async for stored in self._data_keys.find({"_id": {"$in": missing}}):
                keys[stored["_id"]] = self._unwrap_and_cache(stored["_id"], stored)
        return {
            subject: _decrypt(data_key, subject, _decode(subject, sealed[subject])).decode()
            for subject, data_key in keys.items()
            if data_key is not None
        }

    async def shred(self, subject: str) -> None:
        await self._data_keys.delete_one({"_id": subject})
        self._cache.pop(subject, None)

    async def rewrap(self) -> int:
        """Rewrap all data keys with the current master key. Returns the number of changed keys."""
        rewrapped = 0
        async for stored in self._data_keys.find({"kid": {"$ne": self._master.current}}):
            subject = stored["_id"]
            data_key = self._master.unwrap(stored["kid"], subject, stored["wrapped"])
            result = await self._data_keys.update_one(
                {"_id": subject, "kid": stored["kid"]},  # unless it was deleted or rewrapped concurrently
                {"$set": {"wrapped": self._master.wrap(subject, data_key), "kid": self._master.current}},
            )
            rewrapped += result.modified_count
        return rewrapped

    def _unwrap_and_cache(self, subject: str, stored: Document | None) -> bytes:
        if stored is None:
            raise KeyErased(subject)
        data_key = self._cache[subject] = self._master.unwrap(stored["kid"], subject, stored["wrapped"])
        return data_key


class MemoryKeyVault:
    """An in-memory key vault for tests, with the same ciphertext format."""

    def __init__(self) -> None:
        self._data_keys: dict[str, bytes] = {}

    async def encrypt(self, subject: str, plaintext: str) -> str:
        return _encode(_encrypt(self._get_or_create_key(subject), subject, plaintext.encode()))

    async def mac(self, subject: str, text: str) -> str:
        return _mac(self._get_or_create_key(subject), text)

    def _get_or_create_key(self, subject: str) -> bytes:
        return self._data_keys.setdefault(subject, os.urandom(KEY_BYTES))

    async def decrypt(self, subject: str, sealed: str) -> str:
        secret = _decode(subject, sealed)
        if subject not in self._data_keys:
            raise KeyErased(subject)
        return _decrypt(self._data_keys[subject], subject, secret).decode()

    async def decrypt_many(self, sealed: Mapping[str, str]) -> dict[str, str]:
        return {
            subject: await self.decrypt(subject, ciphertext)
            for subject, ciphertext in sealed.items()
            if subject in self._data_keys
        }

    async def shred(self, subject: str) -> None:
        self._data_keys.pop(subject, None)

    async def rewrap(self) -> int:
        return 0
