"""The programs of a job, run by the shell that runners use, and the sections of what they print."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.builds import PlannedStep, Section
from services.builds.script import compile_cleanup, compile_steps
from services.builds.sections import cut, ended

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


def run(folder: Path, lines: tuple[str, ...], status: str) -> bytes:
    environment = os.environ | {"CI_JOB_STATUS": status, "SECRET": "s"}
    done = subprocess.run(
        ["sh", "-e"], input="\n".join(lines).encode(), cwd=folder, env=environment, capture_output=True
    )
    return done.stdout


def sections(*output: bytes) -> list[tuple[str, bool | None]]:
    """As they are when the job is over, canceled."""
    pieces = list[Section]()
    for text in output:
        _, pieces = cut(text, pieces, STEPS, "word", NOW)
    pieces[-1] = ended(pieces[-1], STEPS, NOW, success=False)
    return [(one.step, one.success) for one in pieces]


def test_a_job_runs_only_what_is_not_for_a_kill(folder: Path) -> None:
    output = run(folder, compile_steps(STEPS, "word"), "running")
    assert b"building" in output
    assert b"clean" not in output


def test_what_is_for_a_kill_runs_with_the_variables_of_the_job_in_a_new_shell(folder: Path) -> None:
    output = run(folder, compile_cleanup(STEPS, "word"), "canceled")
    assert b"cleaning with word, SEEN=, SECRET=s\n" in output


@pytest.mark.parametrize("status", ["success", "failed", ""])
def test_the_clean_up_runs_only_after_a_cancel(folder: Path, status: str) -> None:
    assert run(folder, compile_cleanup(STEPS, "word"), status) == b""


@pytest.mark.parametrize("steps", [STEPS[:1], (STEPS[0], STEPS[1].but(skipped=True))])
def test_there_is_no_program_where_nothing_is_to_be_cleaned_up(steps: tuple[PlannedStep, ...]) -> None:
    assert compile_cleanup(steps, "word") == ()


def test_the_interrupted_step_has_failed_and_the_clean_up_has_not(folder: Path) -> None:
    script, cleanup = (
        run(folder, compile_steps(STEPS, "word"), "running"),
        run(folder, compile_cleanup(STEPS, "word"), "canceled"),
    )
    assert sections(script, cleanup) == [("init", True), ("build", False), ("cleanup", True)]


@pytest.mark.parametrize("ending", ["exit 3", "false", "kill -9 $$", "exit 0; false"])
def test_the_section_of_the_clean_up_tells_how_it_went(folder: Path, ending: str) -> None:
    (folder / "cleanup.sh").write_text(f"echo cleaning\n{ending}\n")
    output = run(folder, compile_cleanup(STEPS, "word"), "canceled")
    assert sections(output)[-1] == ("cleanup", ending.startswith("exit 0"))
