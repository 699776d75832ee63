"""Durations in text, such as `1h 30m`, `90 minutes`, `2 weeks`, or a number of seconds."""

import re

UNIT_SECONDS = {
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 24 * 3600),
    **dict.fromkeys(("w", "wk", "week", "weeks"), 7 * 24 * 3600),
    **dict.fromkeys(("mo", "mos", "month", "months"), 30 * 24 * 3600),
    **dict.fromkeys(("y", "yr", "yrs", "year", "years"), 365 * 24 * 3600),
}
PART_PATTERN = re.compile(r"\s*(\d{1,9}(?:\.\d{1,3})?)\s*([a-z]*)\s*(?:,|and\b)?", re.ASCII)


def parse_duration(text: str) -> int | None:
    """Return the duration in whole seconds, or None if the text is not a duration."""
    total, offset, lower = 0.0, 0, text.strip().lower()
    while offset < len(lower):
        part = PART_PATTERN.match(lower, offset)
        if part is None or part[2] not in UNIT_SECONDS:
            return None
        total += float(part[1]) * UNIT_SECONDS[part[2]]
        offset = part.end()
    return int(total) if lower else None
