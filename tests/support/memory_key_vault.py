"""A key vault in memory, with the ciphertext format of the real one."""

import os
from collections.abc import Mapping

from libs.security.envelope_encryption import (
    KEY_BYTES,
    compute_mac,
    decode_ciphertext,
    decrypt_bytes,
    encode_ciphertext,
    encrypt_bytes,
)
from libs.security.erased_keys import KeyErased


class MemoryKeyVault:
    def __init__(self) -> None:
        self._data_keys: dict[str, bytes] = {}

    async def encrypt(self, subject: str, plaintext: str) -> str:
        return encode_ciphertext(encrypt_bytes(self._get_or_create_key(subject), subject, plaintext.encode()))

    async def mac(self, subject: str, text: str) -> str:
        return compute_mac(self._get_or_create_key(subject), text)

    def _get_or_create_key(self, subject: str) -> bytes:
        return self._data_keys.setdefault(subject, os.urandom(KEY_BYTES))

    async def decrypt(self, subject: str, sealed: str) -> str:
        secret = decode_ciphertext(subject, sealed)
        if subject not in self._data_keys:
            raise KeyErased(subject)
        return decrypt_bytes(self._data_keys[subject], subject, secret).decode()

    async def decrypt_many(self, sealed: Mapping[str, str]) -> dict[str, str]:
        return {
            subject: await self.decrypt(subject, ciphertext)
            for subject, ciphertext in sealed.items()
            if subject in self._data_keys
        }

    async def shred(self, *subjects: str, session: object = None) -> None:
        for subject in subjects:
            self._data_keys.pop(subject, None)

    async def rewrap(self) -> int:
        return 0
