"""Delays between the attempts of an operation that is retried."""

from itertools import islice

from libs.backoff import backoff_delays


def test_delays_double_up_to_a_limit_and_differ_between_callers() -> None:
    for delay, longest in zip(backoff_delays(1, 8), [1, 2, 4, 8, 8, 8], strict=False):
        assert longest / 2 <= delay <= longest
    assert len({tuple(islice(backoff_delays(), 3)) for _ in range(10)}) == 10
