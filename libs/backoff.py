"""Delays between the attempts of an operation that is retried."""

from collections.abc import Iterator
from random import uniform

MAX_BACKOFF_SECONDS = 15.0


def backoff_delays(initial: float = 0.1, maximum: float = MAX_BACKOFF_SECONDS) -> Iterator[float]:
    """Yield delays in seconds that double up to `maximum`, each shortened at random by up to a half."""
    delay = initial
    while True:
        yield delay * uniform(0.5, 1)  # noqa: S311
        delay = min(delay * 2, maximum)
