"""The script of a pipeline's job, run by the shell that runners use, and the sections of what it prints."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

from contracts.builds import PlannedStep, Section
from libs.markers import section_name
from services.builds.script import compile_commands
from services.builds.sections import cut, ended

NOW = datetime.now(UTC)
STEPS = (
    PlannedStep(name="@a:script", script=""),
    PlannedStep(name="@a:after_script", script="", after=True),
)


def run(folder: Path, place: int, *commands: str) -> tuple[int, bytes]:
    (script,) = compile_commands(commands, section_name("word", place), "Script of a")
    done = subprocess.run(["sh", "-e"], input=script.encode(), cwd=folder, capture_output=True)
    return done.returncode, done.stdout


def sections(*output: bytes, success: bool) -> list[tuple[str, bool | None]]:
    found = list[Section]()
    for text in output:
        found = cut(text, found, STEPS, "word", NOW).sections
    found[-1] = ended(found[-1], STEPS, NOW, success=success)
    return [(one.step, one.success) for one in found]


def test_commands_are_shown_and_run_in_one_shell(tmp_path: Path) -> None:
    code, output = run(tmp_path, 0, "cd /", "NAME='it is'\necho $NAME $PWD")
    pieces, _, _ = cut(output, (), STEPS, "word", NOW)
    assert code == 0
    text = b"".join(piece.text for piece in pieces if piece.section == 1)
    assert text == b"Script of a\n$ cd /\n$ NAME='it is' ...\nit is /\n"


def test_the_first_command_that_fails_ends_it_with_its_code(tmp_path: Path) -> None:
    code, output = run(tmp_path, 0, "echo one", "(exit 7)", "echo two")
    assert code == 7
    assert b"two" not in output
    assert sections(output, success=False) == [("init", True), ("a:script", False)]


def test_what_follows_tells_whether_the_script_was_good(tmp_path: Path) -> None:
    _, good = run(tmp_path, 0, "true")
    _, bad = run(tmp_path, 0, "false")
    _, after = run(tmp_path, 1, "echo after")
    assert sections(good, after, success=True)[1:] == [("a:script", True), ("a:after_script", True)]
    assert sections(bad, after, success=False)[1:] == [("a:script", False), ("a:after_script", True)]


def test_a_job_without_commands_has_no_script() -> None:
    assert compile_commands((), "section", "title") == ()
