"""Log records on stderr: JSON lines without credentials."""

import json
import subprocess
import sys
from typing import Any

import pytest

from contracts.errors import RequestRejected
from libs.observability.logs import redact, summarize_error

START = "import logging; from libs.observability.logs import configure_logging; configure_logging('builds', 'b-1');"


def stderr_of(code: str, **environ: str) -> list[str]:
    process = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert process.stdout == ""
    return process.stderr.splitlines()


def logged(code: str, **environ: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stderr_of(START + code, **environ)]


def test_a_record_is_one_json_object_on_one_line() -> None:
    (line,) = logged("logging.getLogger('headrace.x').info('two\\nlines %s', 7, extra={'build_id': 17, 'ref': 'main'})")
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "logger": "headrace.x",
        "message": "two\nlines 7",
        "service": "builds",
        "instance": "b-1",
        "build_id": 17,
        "ref": "main",
    }


def test_a_record_inside_a_span_carries_its_ids() -> None:
    (line,) = logged(
        "from libs.observability.telemetry import configure_telemetry\nfrom libs.observability.tracing import extract\n"
        "span = configure_telemetry('s', 'i', None).tracer.start_as_current_span(\n"
        "    'x', context=extract('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'))\n"
        "with span: logging.warning('hello')"
    )
    assert line["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert len(line["span_id"]) == 16


def test_a_logged_exception_shows_the_location_but_no_values() -> None:
    (line,) = logged(
        "\ndef fail(password):\n    raise ValueError('nats://u:hunter2@host is down')\n"
        "try: fail('hunter2')\nexcept ValueError: logging.exception('failed')"
    )
    assert "in fail" in line["exception"]
    assert line["exception"].endswith("ValueError: nats://u:[redacted]@host is down")
    assert "hunter2" not in json.dumps(line)


def test_an_uncaught_exception_is_logged_as_a_record() -> None:
    (line,) = logged("raise SystemError('broken')")
    assert (line["level"], line["message"]) == ("CRITICAL", "uncaught exception, process exits")
    assert line["exception"].endswith("SystemError: broken")


def test_a_python_warning_is_logged() -> None:
    (line,) = logged("import warnings; warnings.warn('old')")
    assert (line["level"], line["logger"]) == ("WARNING", "py.warnings")


def test_libraries_log_warnings_and_above_through_the_same_handler() -> None:
    lines = stderr_of(
        "import uvicorn, faststream.nats, nats, pymongo;"
        + START
        + "names = ['uvicorn.error', 'faststream', 'faststream.access.nats', 'pymongo.topology', 'nats.aio.client'];"
        "[logging.getLogger(name).info('quiet') for name in names];"
        "[logging.getLogger(name).warning('loud') for name in names]"
    )
    assert [json.loads(line)["message"] for line in lines] == ["loud"] * 5


def test_faststream_logs_through_the_same_handler_when_the_workers_are_imported_later() -> None:
    lines = stderr_of(
        START
        + "import libs.reactions.workers as workers;"
        + "workers.FASTSTREAM_LOGGER.info('Received');"
        + "workers.FASTSTREAM_LOGGER.warning('loud')"
    )
    assert [json.loads(line)["message"] for line in lines] == ["loud"]


def test_the_level_is_taken_from_the_environment() -> None:
    assert logged("logging.debug('x')", HEADRACE_LOG_LEVEL="debug")[0]["level"] == "DEBUG"
    assert logged("logging.info('x')", HEADRACE_LOG_LEVEL="WARNING") == []


def test_the_text_format_is_readable() -> None:
    code = "logging.warning('two\\nlines', extra={'build_id': 17})"
    (line,) = stderr_of(START + code, HEADRACE_LOG_FORMAT="text")
    assert line[12:] == " WARNING  builds two\\nlines build_id=17"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("Authorization: Bearer abc.def", "Authorization: [redacted]"),
        ("authorization=token abc", "authorization=[redacted]"),
        ("{'Authorization': 'token abc', 'a': 'b'}", "{'Authorization': '[redacted]', 'a': 'b'}"),
        ("[(b'authorization', b'Basic abc'), (b'a', b'b')]", "[(b'authorization', b'[redacted]'), (b'a', b'b')]"),
        ("PRIVATE-TOKEN: abc", "PRIVATE-TOKEN: [redacted]"),
        ("sent bearer abcdefgh12 to", "sent bearer [redacted] to"),
        ("the token hrp_0123456789abcdef-_0 there", "the token [redacted] there"),
        ("a runner's hr-" + "x" * 43 + ", a job's hrj-" + "y" * 43, "a runner's [redacted], a job's [redacted]"),
        ("got eyJhbGciOi.eyJzdWIi.c2lnbg there", "got [redacted] there"),
        ("mongodb://user:p@ss:w@host:1/x and", "mongodb://user:[redacted]@host:1/x and"),
        ("https://glpat-01234567890123456789@host/x", "https://[redacted]@host/x"),
        ("a [type=int, input_value='hunter2', input_type=str]", "a [type=int, input_value=[redacted], input_type=str]"),
    ],
)
def test_credentials_are_redacted(text: str, safe: str) -> None:
    assert redact(text) == safe


@pytest.mark.parametrize(
    "text",
    [
        "the basic idea",
        "authorization failed",
        "ssh://git@host/x",
        "http://127.0.0.1:8080/api?to=a@b",
        "12:30:01 mail to a@b.example",
    ],
)
def test_plain_text_is_not_redacted(text: str) -> None:
    assert redact(text) == text


def test_an_unreachable_collector_is_logged_as_one_warning_per_minute() -> None:
    line, ours = logged(
        "exporter = logging.getLogger('opentelemetry.exporter')\n"
        "exporter.error('no'); exporter.error('no'); logging.error('ours')"
    )
    assert (line["level"], line["message"]) == ("WARNING", "no")
    assert (ours["level"], ours["message"]) == ("ERROR", "ours")


def test_an_error_of_another_service_is_summarized_without_a_traceback() -> None:
    defect = ValueError("1")
    assert summarize_error(RequestRejected("SERVICE_UNAVAILABLE")) == ("SERVICE_UNAVAILABLE", None)
    assert summarize_error(defect) == ("ValueError", defect)
