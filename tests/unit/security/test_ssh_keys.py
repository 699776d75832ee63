"""Public SSH keys are read strictly, and each has one fingerprint."""

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

from libs.security.ssh_keys import BrokenKey, PrivateKey, WeakKey, fingerprint
from tests.support.ssh_keys import WEAK_RSA, built, number, part

ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))  # fixed: it is part of the ids of tests
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
def test_fingerprints_are_those_of_openssh(key: PrivateHalf) -> None:
    digest = base64.b64encode(ssh_key_fingerprint(key.public_key(), SHA256())).decode()
    assert fingerprint(line(key)) == "SHA256:" + digest.rstrip("=")


@pytest.mark.parametrize(
    "text",
    [built(SK_ED25519, part(RAW), part(b"ssh:")), built(SK_ECDSA, part(b"nistp256"), part(POINT), part(b"ssh:work"))],
)
def test_keys_of_devices_are_keys(text: str) -> None:
    assert fingerprint(text).startswith("SHA256:")


@pytest.mark.parametrize("comment", ["", " ivan@desktop", " Иван, ноутбук ⚡\r\n", "\tx y  z\n", " " * 4000])
def test_comments_do_not_count(comment: str) -> None:
    assert fingerprint(line(ED25519) + comment) == fingerprint(line(ED25519))


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
        built("ssh-ed25519", part(RAW), b"more"),
        built("ssh-ed25519", part(RAW[:31])),
        built("ssh-ed25519-cert-v01@openssh.com", part(b"nonce"), part(RAW)),
        built(SK_ED25519, part(RAW)),
        built(SK_ECDSA, part(b"nistp384"), part(POINT), part(b"ssh:")),
        built("ecdsa-sha2-nistp256", part(b"nistp256"), part(POINT[:-1] + bytes((POINT[-1] ^ 1,)))),
        built("ecdsa-sha2-nistp256", part(b"nistp256"), part(b"\x02" + POINT[1:33])),
        built("ssh-rsa", number(65537, 0), number(N, 2)),
        built("ssh-rsa", number(65537, 0), number(N, 0)),
        built("ssh-rsa", number(65537, 0), number(N + 1)),
        built("ssh-rsa", number(1, 0), number(N)),
        built("ssh-rsa", number(65537, 0), number(1 << 16384 | 1, 0)),
    ],
)
def test_what_is_no_whole_key_is_broken(text: str) -> None:
    with pytest.raises(BrokenKey):
        fingerprint(text)


@pytest.mark.parametrize("text", [WEAK_RSA, built("ssh-dss", *(number(N) for _ in range(4)))])
def test_weak_keys_are_told_from_broken_ones(text: str) -> None:
    with pytest.raises(WeakKey):
        fingerprint(text)


@pytest.mark.parametrize("format_", [PrivateFormat.OpenSSH, PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_private_key_is_recognised_and_not_repeated(format_: PrivateFormat) -> None:
    text = RSA.private_bytes(Encoding.PEM, format_, NoEncryption()).decode()
    with pytest.raises(PrivateKey) as error:
        fingerprint("\n" + text)
    assert str(error.value) == ""


@given(st.sampled_from([ED25519, RSA, P521]), st.integers(0, 600), st.binary(max_size=8))
def test_any_damage_is_an_answer_and_no_accident(key: PrivateHalf, place: int, noise: bytes) -> None:
    type_, _, encoded = line(key).partition(" ")
    blob = bytearray(base64.b64decode(encoded))
    blob[place : place + len(noise)] = noise
    with suppress(BrokenKey, WeakKey):
        assert fingerprint(f"{type_} {base64.b64encode(blob).decode()}").startswith("SHA256:")


@given(st.text(max_size=200))
def test_any_text_is_an_answer_and_no_accident(text: str) -> None:
    with pytest.raises((BrokenKey, PrivateKey)):
        fingerprint(text)
