"""Output of the client: text from the server cannot control the terminal, and times are readable."""

import json
from datetime import UTC, datetime

import pytest

from client.output.build_view import describe_duration, describe_end
from client.output.tables import format_age, format_cell, show_rows
from client.output.terminal_text import clean_log_line, print_json

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "with_colors", "without"),
    [
        ("plain\ttext", "plain\ttext", "plain\ttext"),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after", "after"),
        ("\x1b]52;c;Zm9v\x1b\\after", "after", "after"),
        ("\x1b[2J\x1b[1;1Hgone", "gone", "gone"),
        ("\x1bPq#0\x1b\\sixel", "sixel", "sixel"),
        ("10 %\r50 %\r100 %\r", "100 %", "100 %"),
        ("bell\x07 and \x9b31m", "bell and 31m", "bell and 31m"),
        ("unfinished \x1b", "unfinished ", "unfinished "),
    ],
)
def test_a_log_line_keeps_colors_and_nothing_else_that_controls_the_terminal(
    line: str, with_colors: str, without: str
) -> None:
    assert clean_log_line(line, colors=True) == with_colors
    assert clean_log_line(line, colors=False) == without


def test_rows_are_tab_separated_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": 1, "name": "a\x1b[31m", "tags": ["x", "y"], "active": True, "more": 5}]
    show_rows(rows, ("id", "name", "tags", "active", "missing"), as_json=False)
    assert capsys.readouterr().out == "id\tname\ttags\tactive\tmissing\n1\ta\\x1b[31m\tx, y\tyes\t\n"
    show_rows(rows, ("id",), as_json=True)
    assert json.loads(capsys.readouterr().out) == rows


def test_json_escapes_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "a\x9bb", "word": "Grüße"})
    out = capsys.readouterr().out
    assert "\x9b" not in out
    assert "Grüße" in out
    assert json.loads(out) == {"name": "a\x9bb", "word": "Grüße"}


def test_ages_are_short() -> None:
    assert format_age(None) == ""
    assert format_age("2026-11-30T11:59:30Z", NOW) == "just now"
    assert format_age("2026-11-30T11:55:00+00:00", NOW) == "5 min ago"
    assert format_age("2026-11-28T12:00:00Z", NOW) == "2 d ago"
    assert format_cell(None) == ""


def test_the_end_of_a_build_says_why_it_failed() -> None:
    build = {"id": 7, "created_at": "2026-11-30T11:00:00Z", "completed_at": "2026-11-30T11:02:00Z", "exit_code": 0}
    good = {**build, "status": "SUCCESS", "exit_message": None}
    assert describe_end(good) == "Build 7 succeeded in 2 min."
    assert describe_end({**good, "status": "KILLED"}) == "Build 7 was canceled."
    failed = {**good, "status": "FAILED", "exit_code": 3, "exit_message": "a script ended"}
    assert describe_end(failed) == "Build 7 failed with exit code 3: a script ended"


def test_a_job_that_waits_has_no_duration() -> None:
    assert describe_duration({"status": "QUEUED", "started_at": None, "created_at": "2026-11-30T11:00:00Z"}) == ""
    running = {"status": "RUNNING", "started_at": "2026-11-30T11:59:00Z", "completed_at": None}
    assert describe_duration(running, NOW) == "1 min"
