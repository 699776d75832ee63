"""The shell script compiled from a pipeline job, run by `sh` and `bash`, and the sections of its output."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

from contracts.builds import PlannedStep, Section
from libs.section_markers import format_section_name
from services.builds.execution.script import compile_commands
from services.builds.logs.log_sections import close_section, split_sections

NOW = datetime.now(UTC)
STEPS = (
    PlannedStep(name="@a:script", script=""),
    PlannedStep(name="@a:after_script", script="", after=True),
)


def run_commands(folder: Path, index: int, *commands: str) -> tuple[int, bytes]:
    (script,) = compile_commands(commands, format_section_name("word", index), "Script of a")
    result = subprocess.run(["sh", "-e"], input=script.encode(), cwd=folder, capture_output=True)
    return result.returncode, result.stdout


def parse_sections(*output: bytes, success: bool) -> list[tuple[str, bool | None]]:
    sections_ = list[Section]()
    for text in output:
        sections_ = split_sections(text, sections_, STEPS, "word", NOW).sections
    sections_[-1] = close_section(sections_[-1], STEPS, NOW, success=success)
    return [(section.step, section.success) for section in sections_]


def test_commands_are_echoed_and_run_in_one_shell(tmp_path: Path) -> None:
    code, output = run_commands(tmp_path, 0, "cd /", "NAME='it is'\necho $NAME $PWD")
    pieces, _, _ = split_sections(output, (), STEPS, "word", NOW)
    assert code == 0
    text = b"".join(piece.text for piece in pieces if piece.section_index == 1)
    assert text == b"Script of a\n$ cd /\n$ NAME='it is' ...\nit is /\n"


def test_the_first_failing_command_ends_the_script_with_its_exit_code(tmp_path: Path) -> None:
    code, output = run_commands(tmp_path, 0, "echo one", "(exit 7)", "echo two")
    assert code == 7
    assert b"two" not in output
    assert parse_sections(output, success=False) == [("init", True), ("a:script", False)]


def test_the_next_section_shows_whether_the_script_succeeded(tmp_path: Path) -> None:
    _, good = run_commands(tmp_path, 0, "true")
    _, bad = run_commands(tmp_path, 0, "false")
    _, after = run_commands(tmp_path, 1, "echo after")
    assert parse_sections(good, after, success=True)[1:] == [("a:script", True), ("a:after_script", True)]
    assert parse_sections(bad, after, success=False)[1:] == [("a:script", False), ("a:after_script", True)]


def test_a_job_without_commands_has_no_script() -> None:
    assert compile_commands((), "section", "title") == ()
