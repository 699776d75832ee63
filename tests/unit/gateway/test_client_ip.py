"""The client IP address, with and without trusted proxies."""

from ipaddress import ip_network

import pytest

from gateway.http.client_ip import client_ip, is_local_request

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def address(peer: str, *forwarded: str) -> str:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return client_ip({"client": (peer, 4711), "headers": headers}, PROXIES)


def test_forwarded_headers_are_ignored_by_default() -> None:
    scope = {"client": ("10.0.0.1", 1), "headers": [(b"x-forwarded-for", b"192.0.2.7")]}
    assert client_ip(scope, ()) == "10.0.0.1"


def test_a_connection_without_an_address_has_no_client_ip() -> None:
    assert client_ip({"client": None, "headers": []}, PROXIES) == ""


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", ["198.51.100.9"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["6.6.6.6, 192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["6.6.6.6, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        ("10.0.0.1", ["6.6.6.6", "192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["192.0.2.7, rubbish"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7:4711"], "192.0.2.7"),
        ("fd00::1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("::ffff:10.0.0.1", ["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", ["::ffff:192.0.2.7"], "192.0.2.7"),
    ],
)
def test_only_headers_of_trusted_proxies_are_used(peer: str, forwarded: list[str], client: str) -> None:
    assert address(peer, *forwarded) == client


@pytest.mark.parametrize(
    ("peer", "header", "local"),
    [
        ("127.0.0.1", "accept", True),
        ("::1", "accept", True),
        ("::ffff:127.0.0.1", "accept", True),
        ("10.0.0.1", "accept", False),
        ("127.0.0.1", "x-forwarded-for", False),
        ("127.0.0.1", "forwarded", False),
        ("127.0.0.1", "via", False),
        ("nonsense", "accept", False),
    ],
)
def test_only_a_direct_loopback_connection_is_local(peer: str, header: str, local: bool) -> None:
    assert is_local_request({"client": (peer, 4711), "headers": [(header.encode(), b"x")]}) is local


def test_a_connection_without_an_address_is_not_local() -> None:
    assert not is_local_request({"client": None, "headers": []})
