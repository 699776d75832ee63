"""Encryption of files in chunks with AES-256-GCM. A chunk's nonce consists of its number and a last-chunk flag.

Therefore any modified, moved, missing or additional chunk is detected. No chunk is returned before it is verified.
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

CHUNK_BYTES = 64 * 1024
TAG_BYTES = 16
KEY_BYTES = SALT_BYTES = 32
HKDF_INFO = b"headrace-backup"
SCRYPT_COST = 2**16  # scrypt's parameter N; with r=8, each guess takes 64 MiB and about 0.2 s


class DecryptionError(Exception):
    """The key is wrong or the ciphertext was modified."""


def derive_key(text: str, salt: bytes) -> bytes:
    """Derive the key of one file. `text`: a key of 32 bytes in base64, or a passphrase (any other text)."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) == KEY_BYTES:
        return HKDF(SHA256(), KEY_BYTES, salt, HKDF_INFO).derive(key)
    return Scrypt(salt, KEY_BYTES, SCRYPT_COST, 8, 1).derive(text.encode())


class ChunkEncryptor:
    """Encrypts bytes of any length in chunks. `close` writes the last one. `header` is authenticated, not encrypted."""

    def __init__(self, key: bytes, header: bytes, write_output: Callable[[bytes], object]) -> None:
        self._cipher = AESGCM(key)
        self._header = header
        self._write_output = write_output
        self._number = 0
        self._buffer = bytearray()

    def write(self, content: bytes) -> None:
        self._buffer += content
        whole = max(len(self._buffer) - 1, 0) // CHUNK_BYTES  # keep at least one byte for the last chunk
        for start in range(0, whole * CHUNK_BYTES, CHUNK_BYTES):
            self._encrypt_chunk(bytes(self._buffer[start : start + CHUNK_BYTES]), last=False)
        del self._buffer[: whole * CHUNK_BYTES]

    def close(self) -> None:
        self._encrypt_chunk(bytes(self._buffer), last=True)

    def _encrypt_chunk(self, chunk: bytes, *, last: bool) -> None:
        self._write_output(self._cipher.encrypt(_nonce(self._number, last=last), chunk, self._header))
        self._number += 1


def decrypt(key: bytes, header: bytes, ciphertext: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the plaintext of ciphertext, which is given in pieces of any size. Raises DecryptionError."""
    cipher, number, buffer = AESGCM(key), 0, bytearray()

    def decrypt_chunk(chunk: bytes, *, last: bool) -> bytes:
        try:
            return cipher.decrypt(_nonce(number, last=last), chunk, header)
        except (InvalidTag, ValueError) as error:
            raise DecryptionError(f"chunk {number}") from error

    for piece in ciphertext:
        buffer += piece
        while len(buffer) > CHUNK_BYTES + TAG_BYTES:
            yield decrypt_chunk(bytes(buffer[: CHUNK_BYTES + TAG_BYTES]), last=False)
            del buffer[: CHUNK_BYTES + TAG_BYTES]
            number += 1
    yield decrypt_chunk(bytes(buffer), last=True)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
