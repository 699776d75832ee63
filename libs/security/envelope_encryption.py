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
from pymongo.asynchronous.client_session import AsyncClientSession
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

    async def shred(self, *subjects: str, session: AsyncClientSession | None = None) -> None:
        """Delete the keys of the subjects, in the transaction of the session, if any."""
        ...

    async def rewrap(self) -> int: ...


@dataclass(frozen=True)
class MasterKeys:
    keys: Mapping[str, bytes] = field(repr=False)
    current: str

    @classmethod
    def from_keys(cls, keys: Sequence[bytes]) -> Self:
        by_id = {hashlib.sha256(key).hexdigest()[:8]: key for key in keys}
        return cls(by_id, next(iter(by_id)))

    def wrap(self, subject: str, data_key: bytes) -> bytes:
        return encrypt_bytes(self.keys[self.current], subject, data_key)

    def unwrap(self, key_id: str, subject: str, wrapped: bytes) -> bytes:
        if key_id not in self.keys:
            raise MasterKeyMissing(key_id)
        return decrypt_bytes(self.keys[key_id], subject, wrapped)


def encrypt_bytes(key: bytes, subject: str, plain: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, subject.encode())


def decrypt_bytes(key: bytes, subject: str, secret: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(secret[:NONCE_BYTES], secret[NONCE_BYTES:], subject.encode())
    except (InvalidTag, ValueError) as error:  # ValueError: shorter than a nonce
        raise DecryptionFailed(subject) from error


def compute_mac(key: bytes, text: str) -> str:
    digest = hmac.new(key, b"mac:" + text.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def encode_ciphertext(secret: bytes) -> str:
    return FORMAT_PREFIX + base64.urlsafe_b64encode(secret).decode()


def decode_ciphertext(subject: str, sealed: str) -> bytes:
    try:
        secret = base64.urlsafe_b64decode(sealed.removeprefix(FORMAT_PREFIX))
    except (binascii.Error, ValueError) as error:
        raise DecryptionFailed(subject) from error
    if encode_ciphertext(secret) != sealed:  # the decoder ignores invalid characters
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
        return encode_ciphertext(encrypt_bytes(await self._get_or_create_key(subject), subject, plaintext.encode()))

    async def mac(self, subject: str, text: str) -> str:
        return compute_mac(await self._get_or_create_key(subject), text)

    async def _get_or_create_key(self, subject: str) -> bytes:
        """Return the subject's data key, creating it on first use."""
        data_key = self._cache.get(subject)
        if data_key is None:
            fresh = self._master.wrap(subject, os.urandom(KEY_BYTES))
            # one of several concurrent callers inserts the key; the write concern makes all wait until it is durable
            stored = await self._data_keys.find_one_and_update(
                {"_id": subject},
                {"$setOnInsert": {"wrapped": fresh, "kid": self._master.current}},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
            data_key = self._unwrap_and_cache(subject, stored)
        return data_key

    async def decrypt(self, subject: str, sealed: str) -> str:
        secret = decode_ciphertext(subject, sealed)
        data_key = self._cache.get(subject)
        if data_key is None:
            stored = await self._data_keys.find_one({"_id": subject})
            data_key = self._unwrap_and_cache(subject, stored)
        return decrypt_bytes(data_key, subject, secret).decode()

    async def decrypt_many(self, sealed: Mapping[str, str]) -> dict[str, str]:
        """Decrypt one text per subject with a single query. Subjects without a key are left out."""
        keys = {subject: self._cache.get(subject) for subject in sealed}
        missing = [subject for subject, data_key in keys.items() if data_key is None]
        if missing:
            async for stored in self._data_keys.find({"_id": {"$in": missing}}):
                keys[stored["_id"]] = self._unwrap_and_cache(stored["_id"], stored)
        return {
            subject: decrypt_bytes(data_key, subject, decode_ciphertext(subject, sealed[subject])).decode()
            for subject, data_key in keys.items()
            if data_key is not None
        }

    async def shred(self, *subjects: str, session: AsyncClientSession | None = None) -> None:
        await self._data_keys.delete_many({"_id": {"$in": subjects}}, session=session)
        for subject in subjects:
            self._cache.pop(subject, None)

    async def rewrap(self) -> int:
        """Rewrap all data keys with the current master key. Return the number of changed keys.

        Raises MasterKeyMissing if a data key is wrapped by a master key that is not configured.
        """
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
