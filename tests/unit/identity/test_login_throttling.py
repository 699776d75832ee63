"""Keys of the login rate limits: which failed logins are counted together."""

import pytest

from libs.settings import Settings
from services.identity.authentication.login_throttling import make_limits, network_prefix

SETTINGS = Settings(master_keys=(bytes(32),))


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("", ""),
        ("a socket", "a socket"),
    ],
)
def test_ipv6_addresses_of_one_network_count_as_one(address: str, counted_as: str) -> None:
    assert network_prefix(address) == counted_as


def test_rate_limit_keys_are_distinct_and_hide_the_username() -> None:
    keys = [limit.key for limit in make_limits(SETTINGS, "ivan", "ivan")]
    assert len(set(keys)) == 3
    assert not [key for key in keys if "ivan" in key]
