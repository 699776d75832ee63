"""Logging to stderr with the trace id, and with credentials redacted: one JSON object per line, or text.

HEADRACE_LOG_FORMAT selects the format, and HEADRACE_LOG_LEVEL the level.
"""

import logging
import os
import re
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from opentelemetry import trace
from pythonjsonlogger import json as jsonlogger

from contracts.errors import RequestRejected

REDACTED = "[redacted]"
RATE_LIMIT_SECONDS = 60.0
NOISY_LOGGERS = (
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "faststream",
    "pymongo",
    "nats",
    "httpx",
    "httpcore",
    "asyncio",
)
CREDENTIAL_PATTERNS = [
    # a header in any notation: `Authorization: Bearer x`, {"authorization": "x"}, (b"authorization", b"x")
    (
        re.compile(
            r"""(?i)\b((?:proxy-)?authorization|(?:private|job|runner)-token|x-gitlab-token|cookie)"""
            r"""(["']?\s*[:=]\s*(?:b?["'])?|["'],\s*b?["'])[^"'\r\n]+"""
        ),
        rf"\1\2{REDACTED}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), rf"\1 {REDACTED}"),
    (re.compile(r"\bhrp_[\w-]{8,}|\bhrj?-[\w-]{43}"), REDACTED),  # personal, runner and job tokens
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), REDACTED),  # JSON web tokens
    (re.compile(r"(://[^\s/@:]*:)[^\s/]+(?=@)"), rf"\1{REDACTED}"),
    (re.compile(r"(://)[^\s/@:]{20,}(?=@)"), rf"\1{REDACTED}"),  # a token in place of a user name
    # pydantic's validation errors contain the input
    (re.compile(r"input_value=.*?(?=, input_type=)", re.DOTALL), f"input_value={REDACTED}"),
]
# the text format shows these fields at fixed positions, or leaves them out
TEXT_FIELDS = ("time", "level", "logger", "service", "instance", "message", "trace_id", "span_id", "exception")


def redact(text: str) -> str:
    for pattern, replacement in CREDENTIAL_PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def summarize_error(error: Exception) -> tuple[str, Exception | None]:
    """Return a short name of an error for a log message, and the error itself if its traceback is worth logging.

    The short name of a rejected request is its error code; its traceback is not logged.
    """
    return (error.code, None) if isinstance(error, RequestRejected) else (type(error).__name__, error)


class JsonFormatter(jsonlogger.JsonFormatter):
    """Formats log records as JSON objects. Values except numbers, booleans and None become text, which is redacted."""

    def __init__(self, service: str, instance: str) -> None:
        super().__init__(
            ["levelname", "name", "message"],
            timestamp="time",
            static_fields={"service": service, "instance": instance},
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
            json_ensure_ascii=False,
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        at = log_data.pop("time")
        span = trace.get_current_span().get_span_context()
        ids = {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"} if span.is_valid else {}
        fields = {
            name: value if isinstance(value, bool | int | float | None) else redact(str(value))
            for name, value in log_data.items()
        }
        return {"time": at.isoformat(timespec="milliseconds"), **fields, **ids}


class TextFormatter(JsonFormatter):
    """Formats log records as lines: time, level, service, message, other fields and trace id, then the exception."""

    def serialize_log_record(self, log_data: dict[str, Any]) -> str:
        fields = {"exception": "", "trace_id": "", **log_data}
        message = fields["message"].replace("\n", "\\n")
        facts = "".join(f" {name}={value}" for name, value in fields.items() if name not in TEXT_FIELDS)
        trace_id = f" [{fields['trace_id'][:8]}]" if fields["trace_id"] else ""
        error = f"\n{fields['exception']}" if fields["exception"] else ""
        return f"{fields['time'][11:23]} {fields['level']:<8} {fields['service']} {message}{facts}{trace_id}{error}"


class RateLimitFilter(logging.Filter):
    """Limits the messages of OpenTelemetry, such as reports of an unreachable endpoint, to one warning a minute."""

    def __init__(self) -> None:
        super().__init__()
        self._last = -RATE_LIMIT_SECONDS

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("opentelemetry"):
            return True
        if record.created - self._last < RATE_LIMIT_SECONDS:
            return False
        self._last = record.created
        record.levelno, record.levelname, record.exc_info = logging.WARNING, "WARNING", None
        return True


def configure_logging(service: str, instance: str, environ: Mapping[str, str] = os.environ) -> None:
    """Send the log messages, warnings and uncaught exceptions of the process to one handler on stderr.

    Messages of NOISY_LOGGERS below the level WARNING are dropped. A library that adds a handler to its logger
    when it is imported afterwards needs `adopt_library_logger`.
    """
    form = TextFormatter if environ.get("HEADRACE_LOG_FORMAT") == "text" else JsonFormatter
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(form(service, instance))
    handler.addFilter(RateLimitFilter())
    logging.basicConfig(level=environ.get("HEADRACE_LOG_LEVEL", "INFO").upper(), handlers=[handler], force=True)
    for name in NOISY_LOGGERS:
        adopt_library_logger(name)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught


def adopt_library_logger(name: str) -> None:
    """Send the warnings and errors of a library to the handler of the process, and drop its other messages."""
    logger = logging.getLogger(name)
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.WARNING)


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        logging.getLogger("headrace").critical("uncaught exception, process exits", exc_info=(kind, error, traceback))
