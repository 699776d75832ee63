"""Whose failed log-ins are counted together."""

import pytest

from libs.settings import Settings
from services.identity.guessing import limits, neighbourhood

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
def test_neighbours_in_one_network_are_one_address(address: str, counted_as: str) -> None:
    assert neighbourhood(address) == counted_as


def test_what_is_counted_has_keys_of_its_own_that_do_not_tell_the_name() -> None:
    keys = [limit.key for limit in limits(SETTINGS, "ivan", "ivan")]
    assert len(set(keys)) == 3
    assert not [key for key in keys if "ivan" in key]
