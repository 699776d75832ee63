"""Histograms of durations: counts by geometric ranges, from which percentiles are estimated.

The error is less than 10 % for durations of one second to twelve days.
"""

import math
from collections.abc import Iterable, Mapping

STEPS_PER_DOUBLING = 4
MAX_STEP = 80  # upper bound of the last range: about twelve days

Histogram = Mapping[str, int]
"""Number of durations by step. The keys are text, because MongoDB stores no others."""


def add_seconds(histogram: Histogram, seconds: float) -> dict[str, int]:
    step = math.ceil(STEPS_PER_DOUBLING * math.log2(seconds)) if seconds > 1 else 0
    key = str(min(step, MAX_STEP))
    return {**histogram, key: histogram.get(key, 0) + 1}


def combine(histograms: Iterable[Histogram]) -> dict[str, int]:
    total: dict[str, int] = {}
    for histogram in histograms:
        for key, count in histogram.items():
            total[key] = total.get(key, 0) + count
    return total


def estimate_percentile(histogram: Histogram, share: float) -> float | None:
    """Return the estimated duration in seconds that this share of the durations does not exceed. None: there are none.

    `share` is between 0 and 1.
    """
    total = sum(histogram.values())
    passed = 0
    for step, count in sorted((int(key), count) for key, count in histogram.items()):
        passed += count
        if passed >= share * total:
            middle = 2 ** ((step - 0.5) / STEPS_PER_DOUBLING)
            return round(middle, 1) if middle < 100 else float(round(middle))
    return None
