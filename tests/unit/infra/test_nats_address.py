"""Parsing of HEADRACE_NATS_URL: one or several servers with one login, and errors that hide the login."""

import pytest

from libs.messaging.nats_address import InvalidNatsAddress, NatsAddress
from libs.settings import Settings, SettingsError


@pytest.mark.parametrize(
    "text",
    [
        "nats://builds:secret@a:4222,nats://builds:secret@b:4222,nats://builds:secret@c:4222",
        "nats://builds:secret@a:4222,b:4222,c:4222",
        "nats://builds:secret@a, b, c",
        "nats://a,nats://builds:secret@b,c,",
        "nats://builds:secret@a,b,builds:secret@c:4222,a:4222",
    ],
)
def test_a_nats_login_applies_to_all_servers(text: str) -> None:
    address = NatsAddress.parse(text)
    assert address == NatsAddress(("nats://a:4222", "nats://b:4222", "nats://c:4222"), "builds", "secret")
    assert address.inbox_prefix == "_INBOX.builds"


def test_a_nats_login_is_percent_encoded() -> None:
    address = NatsAddress.parse("tls://b%40x:p%2C%25%3A%2Fz@host,[::1]:5222")
    assert address == NatsAddress(("tls://host:4222", "tls://[::1]:5222"), "b@x", "p,%:/z")
    assert address.with_login("tls://host:4222") == "tls://b%40x:p%2C%25%3A%2Fz@host:4222"
    assert NatsAddress.parse(address.with_login("tls://host:4222")) == NatsAddress(
        ("tls://host:4222",), "b@x", "p,%:/z"
    )


def test_a_nats_token_is_not_part_of_the_inbox_prefix() -> None:
    address = NatsAddress.parse("nats://to%2Fken@a,b")
    assert address == NatsAddress(("nats://a:4222", "nats://b:4222"), token="to/ken")
    assert address.inbox_prefix == "_INBOX"
    assert address.with_login("nats://b:4222") == "nats://to%2Fken@b:4222"


def test_a_nats_url_needs_no_login() -> None:
    address = NatsAddress.parse("nats://127.0.0.1:4222")
    assert address == NatsAddress(("nats://127.0.0.1:4222",))
    assert (address.inbox_prefix, address.with_login("nats://127.0.0.1:4222")) == ("_INBOX", "nats://127.0.0.1:4222")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("u:canary@host:4222", "must be a URL that starts with nats:// or tls://"),
        ("http://u:canary@host", "must be a URL that starts with nats:// or tls://"),
        (",", "must be a URL that starts with nats:// or tls://"),
        ("nats://u:canary@a,tls://u:canary@b", "must list servers that all start with nats://"),
        ("nats://u:canary@a,nats://u:canary2@b", "must have the same login for all servers"),
        ("nats://u:canary@a,v:canary@b", "must have the same login for all servers"),
        ("nats://u:can,ary@host", "a comma is %2C"),
        ("nats://u:can/ary@host:4222", "must be comma-separated servers such as"),
        ("nats://u:canary@", "must be comma-separated servers such as"),
        ("nats://u:canary@host:notaport", "must be comma-separated servers such as"),
        ("nats://u:canary@host:70000", "must be comma-separated servers such as"),
        ("nats://u:canary@host:0", "must be comma-separated servers such as"),
        ("nats://u:canary@[::1", "must be comma-separated servers such as"),
    ],
)
def test_an_invalid_nats_url_is_explained_without_its_login(text: str, sentence: str) -> None:
    with pytest.raises(InvalidNatsAddress) as wrong:
        NatsAddress.parse(text)
    assert sentence in str(wrong.value)
    with pytest.raises(SettingsError, match=r"^HEADRACE_NATS_URL must ") as refused:
        Settings.from_environment({"HEADRACE_NATS_URL": text})
    assert "can" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_the_repr_of_a_nats_address_hides_the_login() -> None:
    assert "canary" not in repr(NatsAddress.parse("nats://u:canary@a")) + repr(NatsAddress.parse("nats://canary@a"))
