"""The shell script compiled from the steps of a spec, run by `sh`, and the sections of its output."""

import os
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.builds import PlannedStep, Section
from services.builds.execution.script import compile_cleanup, compile_steps
from services.builds.logs.log_sections import close_section, split_sections

NOW = datetime.now(UTC)
STEPS = (
    PlannedStep(name="@build", script="/build.sh"),
    PlannedStep(name="@cleanup", script="/cleanup.sh word", on_kill=True),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "build.sh").write_text("echo building; export SEEN=yes\n")
    (tmp_path / "cleanup.sh").write_text('echo "cleaning with $1, SEEN=$SEEN, SECRET=$SECRET"\n')
    return tmp_path


def run_script(folder: Path, lines: tuple[str, ...], status: str) -> bytes:
    environment = os.environ | {"CI_JOB_STATUS": status, "SECRET": "s"}
    result = subprocess.run(
        ["sh", "-e"], input="\n".join(lines).encode(), cwd=folder, env=environment, capture_output=True
    )
    return result.stdout


def parse_sections(*output: bytes) -> list[tuple[str, bool | None]]:
    """Split the output of a canceled job into log sections. Return the step and the success of each section."""
    pieces = list[Section]()
    for text in output:
        pieces = split_sections(text, pieces, STEPS, "word", NOW).sections
    pieces[-1] = close_section(pieces[-1], STEPS, NOW, success=False)
    return [(section.step, section.success) for section in pieces]


def test_a_job_script_does_not_contain_cleanup_steps(folder: Path) -> None:
    output = run_script(folder, compile_steps(STEPS, "word"), "running")
    assert b"building" in output
    assert b"clean" not in output


def test_cleanup_steps_run_in_a_new_shell_with_the_variables_of_the_job(folder: Path) -> None:
    output = run_script(folder, compile_cleanup(STEPS, "word"), "canceled")
    assert b"cleaning with word, SEEN=, SECRET=s\n" in output


@pytest.mark.parametrize("status", ["success", "failed", ""])
def test_the_cleanup_runs_only_after_a_cancel(folder: Path, status: str) -> None:
    assert run_script(folder, compile_cleanup(STEPS, "word"), status) == b""


@pytest.mark.parametrize("steps", [STEPS[:1], (STEPS[0], STEPS[1].replace(skipped=True))])
def test_there_is_no_cleanup_script_without_cleanup_steps(steps: tuple[PlannedStep, ...]) -> None:
    assert compile_cleanup(steps, "word") == ()


def test_after_a_cancel_the_interrupted_step_failed_and_the_cleanup_succeeded(folder: Path) -> None:
    script, cleanup = (
        run_script(folder, compile_steps(STEPS, "word"), "running"),
        run_script(folder, compile_cleanup(STEPS, "word"), "canceled"),
    )
    assert parse_sections(script, cleanup) == [("init", True), ("build", False), ("cleanup", True)]


@pytest.mark.parametrize("ending", ["exit 3", "false", "kill -9 $$", "exit 0; false"])
def test_the_cleanup_section_shows_whether_the_cleanup_succeeded(folder: Path, ending: str) -> None:
    (folder / "cleanup.sh").write_text(f"echo cleaning\n{ending}\n")
    output = run_script(folder, compile_cleanup(STEPS, "word"), "canceled")
    assert parse_sections(output)[-1] == ("cleanup", ending.startswith("exit 0"))


LIMITED_STEPS = (
    PlannedStep(name="@slow", script="/slow.sh", timeout_seconds=1),
    PlannedStep(name="@next", script="/build.sh"),
)


def run_limited(folder: Path, script: str) -> tuple[int, bytes, list[Section]]:
    (folder / "slow.sh").write_text(f"echo begun\n{script}\n")
    lines = "\n".join(compile_steps(LIMITED_STEPS, "word")).encode()
    started = time.monotonic()
    result = subprocess.run(["sh", "-e"], input=lines, cwd=folder, env=os.environ, capture_output=True, timeout=30)
    assert time.monotonic() - started < 10
    pieces, log_sections, _ = split_sections(result.stdout, (), LIMITED_STEPS, "word", NOW)
    log_sections[-1] = close_section(log_sections[-1], LIMITED_STEPS, NOW, success=result.returncode == 0)
    return result.returncode, b"".join(section.text for section in pieces), log_sections


@pytest.mark.parametrize(
    "script",
    [
        "sleep 3600",
        "sleep 3600 | cat",
        "(sleep 3600; true) & wait",
        "while :; do :; done",
        "sh -c 'trap \"\" TERM; sleep 3600 & wait; sleep 3600'",
        "set -eu; sleep 3600",
    ],
)
def test_a_step_that_exceeds_its_timeout_is_killed_with_its_children(folder: Path, script: str) -> None:
    code, text, log_sections = run_limited(folder, script)
    assert code == 124
    assert text == b"Step @slow ...\nbegun\nStep @slow TIMED OUT: it took longer than its limit of 1 seconds\n"
    assert [(section.step, section.success, section.timed_out) for section in log_sections] == [
        ("init", True, False),
        ("slow", False, True),
    ]


@pytest.mark.parametrize("script", ["trap '' ALRM; sleep 3600", "exec sleep 3600"])
def test_a_step_that_replaces_the_shell_is_killed_at_its_timeout(folder: Path, script: str) -> None:
    code, text, log_sections = run_limited(folder, script)
    assert code != 0
    assert b"TIMED OUT" in text
    assert log_sections[-1].timed_out


@pytest.mark.parametrize("script", ["true", "sleep 3600 & disown", "exec 3>&1; wait", "wait; set -eu", "trap - ALRM"])
def test_a_step_within_its_timeout_leaves_no_watcher_behind(folder: Path, script: str) -> None:
    code, text, log_sections = run_limited(folder, script.replace("sleep 3600", "sleep 3600 >/dev/null 2>&1"))
    assert code == 0
    assert text == b"Step @slow ...\nbegun\nStep @next ...\nbuilding\n"
    assert [(section.step, section.success) for section in log_sections] == [
        ("init", True),
        ("slow", True),
        ("next", True),
    ]


def test_a_step_may_exit_the_job_within_its_timeout(folder: Path) -> None:
    code, _, log_sections = run_limited(folder, "exit 7")
    assert (code, log_sections[-1].success, log_sections[-1].timed_out) == (7, False, False)


def test_variables_and_working_directory_of_a_step_with_a_timeout_reach_the_next(folder: Path) -> None:
    (folder / "build.sh").write_text('echo "$SEEN in $(basename "$PWD")"\n')
    _, text, _ = run_limited(folder, "export SEEN=yes; mkdir -p inner; cd inner")
    assert text.endswith(b"yes in inner\n")
