"""The delay that the server requests before the next attempt."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

MAX_RETRY_AFTER_SECONDS = 60.0


def parse_retry_after(headers: httpx.Headers) -> float:
    """Return the delay in seconds that the server requests, at most MAX_RETRY_AFTER_SECONDS. 0: it requests none."""
    reset, after = headers.get("RateLimit-ResetTime"), headers.get("Retry-After", "")
    if not reset and after.isdigit():
        return min(float(after), MAX_RETRY_AFTER_SECONDS)
    try:
        retry_at = parsedate_to_datetime(reset or after)
    except ValueError:
        return 0.0
    wait = (retry_at.replace(tzinfo=retry_at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(wait, 0.0), MAX_RETRY_AFTER_SECONDS)
