"""Rate limits of a gateway process: clients that share a limit, limited memory, and disabled limits."""

import pytest

from contracts.errors import RequestRejected
from gateway.http.rate_limits import MAX_ENTRIES, RateLimit, client_key


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:0:1::7", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff::8", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::7", "2001:db8:0:2::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_network_is_one_client(address: str, key: str) -> None:
    assert client_key(address) == key


def test_recorded_requests_count_but_are_never_rejected() -> None:
    limit = RateLimit(2)
    for _ in range(5):
        limit.record("192.0.2.7")
    with pytest.raises(RequestRejected, match="TOO_MANY_REQUESTS") as caught:
        limit.check("192.0.2.7")
    assert caught.value.retry_after == 30
    limit.check("192.0.2.8")


def test_no_number_of_clients_uses_up_the_memory() -> None:
    limit = RateLimit(1)
    for number in range(MAX_ENTRIES + 1):
        limit.take(str(number))
    limit.take("0")  # accepted, because its count was evicted
    with pytest.raises(RequestRejected):
        limit.take(str(MAX_ENTRIES))


def test_zero_disables_the_limit() -> None:
    limit = RateLimit(0)
    for _ in range(100):
        limit.take("192.0.2.7")
    limit.check("192.0.2.7")
