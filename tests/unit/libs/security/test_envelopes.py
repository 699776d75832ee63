"""Envelopes: texts encrypted for one recipient and one purpose."""

import base64

import pytest

from libs.security.envelopes import InvalidEnvelope, Recipient, encrypt_for


def test_only_the_recipient_opens_an_envelope_for_its_purpose() -> None:
    recipient = Recipient.create()
    envelope = encrypt_for("the key", recipient.public_key, "project-1")
    assert recipient.decrypt(envelope, "project-1") == "the key"
    assert "the key" not in base64.b64decode(envelope).decode("latin-1")
    for other, purpose in ((recipient, "project-2"), (Recipient.create(), "project-1")):
        with pytest.raises(InvalidEnvelope):
            other.decrypt(envelope, purpose)


@pytest.mark.parametrize("envelope", ["", "*", "AAAA", "é", base64.b64encode(bytes(80)).decode()])
def test_an_invalid_envelope_is_rejected(envelope: str) -> None:
    with pytest.raises(InvalidEnvelope):
        Recipient.create().decrypt(envelope, "p")


@pytest.mark.parametrize("key", ["", "*", "AAAA", "é", base64.b64encode(bytes(32)).decode()])
def test_an_invalid_public_key_is_rejected(key: str) -> None:
    with pytest.raises(InvalidEnvelope):
        encrypt_for("text", key, "p")
