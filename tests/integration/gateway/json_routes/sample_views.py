"""Sample responses and errors of the fake services behind the gateway."""

from datetime import UTC, datetime

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
ERROR_FIELDS = {"timestamp", "status", "error", "message", "path", "detail", "trace_id"}
