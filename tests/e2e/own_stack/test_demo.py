"""`headrace server demo`: output, exit status, and which processes keep running."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.local.data_folder import DataFolder
from infra.local.stack_state import find_supervisor
from tests.support.external.repositories import create_sample_repository
from tests.support.signals import restore_sigint

HEADRACE = (sys.executable, "-m", "infra")


@dataclass(frozen=True)
class DemoCommands:
    data: Path

    def environment(self, **more: str) -> Mapping[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
        return {**ours, "HEADRACE_DATA": str(self.data), **more}

    def run(self, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (*HEADRACE, command), env=self.environment(**environment), capture_output=True, text=True, timeout=200
        )

    @property
    def supervisor(self) -> int | None:
        return find_supervisor(DataFolder(self.data))


@pytest.fixture(scope="module")
def demo_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoCommands]:
    demo_user = DemoCommands(tmp_path_factory.mktemp("demo") / "data")
    yield demo_user
    demo_user.run("down")


@pytest.fixture(scope="module")
def first_run(demo_user: DemoCommands) -> subprocess.CompletedProcess[str]:
    return demo_user.run("demo", KEEP="1")


def test_the_demo_build_succeeds(first_run: subprocess.CompletedProcess[str]) -> None:
    assert first_run.returncode == 0, first_run.stdout + first_run.stderr
    assert "\nBuild 1 succeeded" in first_run.stdout


def test_the_demo_shows_the_log_lines_of_every_step(first_run: subprocess.CompletedProcess[str]) -> None:
    lines = [line for line in first_run.stdout.splitlines() if line.startswith(("> ", "  | shipped", "  | made out/"))]
    page_lines = [
        f"  | made out/{page}.html ({size} bytes)" for page, size in (("basket", 21), ("index", 24), ("payment", 23))
    ]
    assert lines == ["> init", "> test", "> build", *page_lines, "> deploy", "  | shipped"]


def test_the_demo_masks_the_secret(first_run: subprocess.CompletedProcess[str]) -> None:
    assert "  | logging in with the token [MASKED]\n" in first_run.stdout
    assert "  | in base64 it is [MASKED]\n" in first_run.stdout


def test_the_demo_shows_the_events_from_launch_to_end(first_run: subprocess.CompletedProcess[str]) -> None:
    _, _, events_text = first_run.stdout.partition("== Events of this build")
    names = [line.split()[3] for line in events_text.splitlines() if " builds  " in line]
    assert (names[0], names[-1]) == ("BuildQueued", "BuildFinished")


def test_a_second_demo_reuses_the_kept_stack(
    demo_user: DemoCommands, first_run: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    supervisor = demo_user.supervisor
    second = demo_user.run("demo", REPO=str(create_sample_repository(tmp_path / "own")))
    assert (second.returncode, demo_user.supervisor) == (0, supervisor)
    assert "  | hello from the sample repository\n" in second.stdout


def test_the_demo_exits_with_1_if_the_build_fails(
    demo_user: DemoCommands, first_run: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    broken = create_sample_repository(tmp_path / "broken", {"build": "echo no >&2; false\n"})
    run = demo_user.run("demo", REPO=str(broken), BRANCH="main", SPEC="/headrace.yaml")
    assert run.returncode == 1
    assert "failed with exit code 2000: Custom deployment error" in run.stdout


def test_ctrl_c_stops_everything_the_demo_started(tmp_path: Path) -> None:
    demo_user = DemoCommands(tmp_path / "data")
    demo = subprocess.Popen(
        (*HEADRACE, "demo"),
        env=demo_user.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=restore_sigint,
    )
    with demo:
        assert demo.stdout
        next(line for line in demo.stdout if line.startswith("> test"))
        demo.send_signal(signal.SIGINT)
        rest = demo.stdout.read()
    assert demo.returncode == 130
    assert "Stopped the stack" in rest
    assert demo_user.supervisor is None
