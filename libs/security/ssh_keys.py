"""Strict parsing of public SSH keys, so that each stored key is usable and has exactly one fingerprint."""

import base64
import hashlib
import re

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

KEY_LINE = re.compile(  # fields: type, base64, optional comment
    r"([a-z0-9@.-]+)[ \t]+([A-Za-z0-9+/]+={0,2})(?:[ \t][^\x00-\x08\x0a-\x1f\x7f]*)?"
)
PRIVATE_KEY_HEADER = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY|PuTTY-User-Key-File")
SOFTWARE_KEY_TYPES = frozenset(
    {"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"}
)
SECURITY_KEY_TYPES = frozenset({"sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"})
WEAK_KEY_TYPE = "ssh-dss"
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 16384  # smaller keys are weak; OpenSSH does not accept larger ones


class InvalidKey(ValueError):
    """The text is not a valid public key. Error messages never contain the text."""


class WeakKey(ValueError):
    """The key's type or size is not secure."""


class UnexpectedPrivateKey(ValueError):
    pass


def compute_fingerprint(text: str) -> str:
    """Return the OpenSSH fingerprint `SHA256:...` of a public key in authorized_keys format, without options.

    Raises InvalidKey, WeakKey or UnexpectedPrivateKey.
    """
    text = text.strip()
    if PRIVATE_KEY_HEADER.match(text):
        raise UnexpectedPrivateKey
    line = KEY_LINE.fullmatch(text)
    if line is None or line[1] not in SOFTWARE_KEY_TYPES | SECURITY_KEY_TYPES | {WEAK_KEY_TYPE}:
        raise InvalidKey
    if line[1] == WEAK_KEY_TYPE:
        raise WeakKey
    try:
        blob = base64.b64decode(line[2], validate=True)
    except ValueError:
        raise InvalidKey from None
    _validate_blob(line[1], blob)
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _validate_blob(type_: str, blob: bytes) -> None:
    canonical = f"{type_} {base64.b64encode(blob).decode()}".encode()
    try:
        key = load_ssh_public_key(canonical)
    except (ValueError, NotImplementedError, UnsupportedAlgorithm):
        raise InvalidKey from None
    # a non-canonical encoding would give the same key another fingerprint
    if type_ in SOFTWARE_KEY_TYPES and key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) != canonical:
        raise InvalidKey
    if isinstance(key, RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise WeakKey
        if key.key_size > MAX_RSA_BITS or key.public_numbers().n % 2 == 0:
            raise InvalidKey
