"""Encryption of text for one recipient and purpose by HPKE (RFC 9180), so that no plaintext crosses the message bus."""

import base64
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

HPKE_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class InvalidEnvelope(Exception):
    """The public key or the encrypted text is malformed, or is for another recipient or purpose."""


class Recipient:
    """The key pair of a process that receives one encrypted answer."""

    def __init__(self, private_key: X25519PrivateKey) -> None:
        self._private_key = private_key

    @classmethod
    def create(cls) -> Self:
        return cls(X25519PrivateKey.generate())

    @property
    def public_key(self) -> str:
        return base64.b64encode(self._private_key.public_key().public_bytes_raw()).decode()

    def decrypt(self, envelope: str, purpose: str) -> str:
        try:
            return HPKE_SUITE.decrypt(
                base64.b64decode(envelope, validate=True), self._private_key, purpose.encode()
            ).decode()
        except (InvalidTag, ValueError) as error:
            raise InvalidEnvelope from error


def encrypt_for(text: str, public_key: str, purpose: str) -> str:
    """Encrypt text for the owner of a public key. Decryption needs the same purpose. Raises InvalidEnvelope."""
    try:
        recipient = X25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))
        encrypted = HPKE_SUITE.encrypt(text.encode(), recipient, purpose.encode())
    except ValueError as error:
        raise InvalidEnvelope from error
    return base64.b64encode(encrypted).decode()
