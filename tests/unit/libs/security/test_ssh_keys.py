"""Public SSH keys: fingerprints, and the errors for weak, damaged and private keys."""

import base64
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    ssh_key_fingerprint,
)
from hypothesis import given
from hypothesis import strategies as st

from libs.security.ssh_keys import InvalidKey, UnexpectedPrivateKey, WeakKey, compute_fingerprint
from tests.support.external.ssh_keys import WEAK_RSA_KEY, build_public_key, ssh_mpint, ssh_string

ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))  # fixed, because test ids contain it
RSA = rsa.generate_private_key(65537, 2048)
P256, P384, P521 = (ec.generate_private_key(curve()) for curve in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1))
PrivateHalf = ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

SK_ED25519 = "sk-ssh-ed25519@openssh.com"
SK_ECDSA = "sk-ecdsa-sha2-nistp256@openssh.com"


def line(key: PrivateHalf) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


RAW = ED25519.public_key().public_bytes_raw()
POINT = P256.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
N = RSA.public_key().public_numbers().n


@pytest.mark.parametrize("key", [ED25519, RSA, P256, P384, P521])
def test_fingerprints_match_openssh(key: PrivateHalf) -> None:
    digest = base64.b64encode(ssh_key_fingerprint(key.public_key(), SHA256())).decode()
    assert compute_fingerprint(line(key)) == "SHA256:" + digest.rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        build_public_key(SK_ED25519, ssh_string(RAW), ssh_string(b"ssh:")),
        build_public_key(SK_ECDSA, ssh_string(b"nistp256"), ssh_string(POINT), ssh_string(b"ssh:work")),
    ],
)
def test_security_key_types_are_accepted(text: str) -> None:
    assert compute_fingerprint(text).startswith("SHA256:")


@pytest.mark.parametrize("comment", ["", " ivan@desktop", " Иван, ноутбук ⚡\r\n", "\tx y  z\n", " " * 4000])
def test_comments_do_not_change_the_fingerprint(comment: str) -> None:
    assert compute_fingerprint(line(ED25519) + comment) == compute_fingerprint(line(ED25519))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ivan",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 ====",
        "ssh-ed25519 Ключ",
        line(ED25519)[:-5],
        line(RSA)[:-8],
        line(ED25519).replace("ssh-ed25519", "ssh-rsa"),
        line(P256).replace("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384"),
        line(ED25519) + "\n" + line(RSA),
        line(ED25519) + " ivan\0",
        line(ED25519) + " \x1b[2Jivan",
        'command="id" ' + line(ED25519),
        build_public_key("ssh-ed25519", ssh_string(RAW), b"more"),
        build_public_key("ssh-ed25519", ssh_string(RAW[:31])),
        build_public_key("ssh-ed25519-cert-v01@openssh.com", ssh_string(b"nonce"), ssh_string(RAW)),
        build_public_key(SK_ED25519, ssh_string(RAW)),
        build_public_key(SK_ECDSA, ssh_string(b"nistp384"), ssh_string(POINT), ssh_string(b"ssh:")),
        build_public_key(
            "ecdsa-sha2-nistp256", ssh_string(b"nistp256"), ssh_string(POINT[:-1] + bytes((POINT[-1] ^ 1,)))
        ),
        build_public_key("ecdsa-sha2-nistp256", ssh_string(b"nistp256"), ssh_string(b"\x02" + POINT[1:33])),
        build_public_key("ssh-rsa", ssh_mpint(65537, 0), ssh_mpint(N, 2)),
        build_public_key("ssh-rsa", ssh_mpint(65537, 0), ssh_mpint(N, 0)),
        build_public_key("ssh-rsa", ssh_mpint(65537, 0), ssh_mpint(N + 1)),
        build_public_key("ssh-rsa", ssh_mpint(1, 0), ssh_mpint(N)),
        build_public_key("ssh-rsa", ssh_mpint(65537, 0), ssh_mpint(1 << 16384 | 1, 0)),
    ],
)
def test_an_incomplete_public_key_is_invalid(text: str) -> None:
    with pytest.raises(InvalidKey):
        compute_fingerprint(text)


@pytest.mark.parametrize("text", [WEAK_RSA_KEY, build_public_key("ssh-dss", *(ssh_mpint(N) for _ in range(4)))])
def test_weak_keys_are_distinguished_from_invalid_ones(text: str) -> None:
    with pytest.raises(WeakKey):
        compute_fingerprint(text)


@pytest.mark.parametrize("format_", [PrivateFormat.OpenSSH, PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_private_key_is_recognized_and_not_repeated_in_the_error(format_: PrivateFormat) -> None:
    text = RSA.private_bytes(Encoding.PEM, format_, NoEncryption()).decode()
    with pytest.raises(UnexpectedPrivateKey) as error:
        compute_fingerprint("\n" + text)
    assert str(error.value) == ""


@given(st.sampled_from([ED25519, RSA, P521]), st.integers(0, 600), st.binary(max_size=8))
def test_a_damaged_key_raises_only_expected_errors(key: PrivateHalf, position: int, noise: bytes) -> None:
    type_, _, encoded = line(key).partition(" ")
    blob = bytearray(base64.b64decode(encoded))
    blob[position : position + len(noise)] = noise
    with suppress(InvalidKey, WeakKey):
        assert compute_fingerprint(f"{type_} {base64.b64encode(blob).decode()}").startswith("SHA256:")


@given(st.text(max_size=200))
def test_arbitrary_text_raises_only_expected_errors(text: str) -> None:
    with pytest.raises((InvalidKey, UnexpectedPrivateKey)):
        compute_fingerprint(text)
