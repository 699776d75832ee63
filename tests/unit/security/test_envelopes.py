"""Texts encrypted for one recipient and one purpose."""

import base64

import pytest

from libs.security.envelopes import EnvelopeInvalid, Recipient, enclose


def test_only_the_recipient_opens_it_and_only_for_its_purpose() -> None:
    recipient = Recipient.create()
    envelope = enclose("the key", recipient.public_key, "project-1")
    assert recipient.open(envelope, "project-1") == "the key"
    assert "the key" not in base64.b64decode(envelope).decode("latin-1")
    for other, purpose in ((recipient, "project-2"), (Recipient.create(), "project-1")):
        with pytest.raises(EnvelopeInvalid):
            other.open(envelope, purpose)


@pytest.mark.parametrize("envelope", ["", "*", "AAAA", "é", base64.b64encode(bytes(80)).decode()])
def test_what_is_no_envelope_is_refused(envelope: str) -> None:
    with pytest.raises(EnvelopeInvalid):
        Recipient.create().open(envelope, "p")


@pytest.mark.parametrize("key", ["", "*", "AAAA", "é", base64.b64encode(bytes(32)).decode()])
def test_what_is_no_public_key_is_refused(key: str) -> None:
    with pytest.raises(EnvelopeInvalid):
        enclose("text", key, "p")
