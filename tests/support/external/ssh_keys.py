"""Public SSH keys: made anew by the library, or put together byte by byte."""

import base64
import struct

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def generate_public_key() -> str:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def ssh_string(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def ssh_mpint(value: int, zeros: int = 1) -> bytes:
    """With as many zero bytes in front; one is right where the highest bit of the value is set."""
    return ssh_string(bytes(zeros) + value.to_bytes((value.bit_length() + 7) // 8, "big"))


def build_public_key(type_: str, *parts: bytes) -> str:
    return f"{type_} {base64.b64encode(ssh_string(type_.encode()) + b''.join(parts)).decode()}"


WEAK_RSA_KEY = build_public_key("ssh-rsa", ssh_mpint(65537, 0), ssh_mpint(1 << 1023 | 1))
