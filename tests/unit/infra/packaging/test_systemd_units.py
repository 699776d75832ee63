"""The systemd units: programs, timeouts and restrictions. The tests need no running systemd."""

import os
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from infra.local import stack_commands
from infra.local.supervisor import STOP_TIMEOUT_SECONDS
from libs.settings import Settings

ROOT = Path(__file__).parents[4]
FOLDER = ROOT / "infra" / "systemd"
UNITS = ("headrace-server", "headrace-agent")


def read_unit(name: str) -> dict[str, list[str]]:
    """Return the values of each option of a unit."""
    options = defaultdict(list)
    for line in (FOLDER / f"{name}.service").read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            option, _, value = line.partition("=")
            options[option].append(value)
    return options


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze checks the units; it is missing")
def test_systemd_accepts_the_unit(tmp_path: Path, name: str) -> None:
    text = (FOLDER / f"{name}.service").read_text()
    copy = tmp_path / f"{name}.service"
    copy.write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", text))  # the program need not be installed
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if "Failed to initialize manager" in result.stderr:
        pytest.skip(f"systemd-analyze does not work on this machine: {result.stderr.strip()}")
    assert (result.returncode, [line for line in result.stderr.splitlines() if name in line]) == (0, [])


@pytest.mark.parametrize("name", UNITS)
def test_the_unit_starts_a_command_with_existing_options(name: str) -> None:
    [command] = read_unit(name)["ExecStart"]
    program, *words = command.split()
    assert program == "/opt/headrace/bin/headrace"
    heading = f"### headrace {words[0]} {words[1]}\n"
    reference = (ROOT / "docs" / "using" / "cli.md").read_text()
    assert heading in reference
    section = reference.partition(heading)[2].partition("\n### ")[0]
    assert [word for word in words[2:] if word.startswith("--") and f"`{word}`" not in section] == []


def test_the_stop_timeouts_cover_the_shutdown_of_the_processes() -> None:
    [server] = read_unit("headrace-server")["TimeoutStopSec"]
    assert int(server) > STOP_TIMEOUT_SECONDS
    [agent] = read_unit("headrace-agent")["TimeoutStopSec"]
    [grace] = re.findall(r"--grace (\d+)", read_unit("headrace-agent")["ExecStart"][0])
    assert int(agent) >= Settings().long_poll_seconds + int(grace) + 10


@pytest.mark.parametrize("name", UNITS)
def test_the_unit_has_limits_and_no_privileges(name: str) -> None:
    options = read_unit(name)
    assert options["NoNewPrivileges"] == ["yes"]
    assert options["CapabilityBoundingSet"] == [""]
    assert options["ProtectSystem"] == ["strict"]
    assert options["User"] == [name.removesuffix("-server")]
    assert options["KillMode"] == ["mixed"]
    assert options["TasksMax"]
    # everything is written into the folder that the unit may write
    [folder] = options["StateDirectory"]
    assert re.findall(r"%S/([\w-]+)", " ".join(options["Environment"])) == [folder] * 2


def test_the_journal_never_receives_the_generated_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd passes the device and inode of the journal's stream to the processes whose output it receives."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "admin-password").write_text("generated-password")
    settings = Settings(data=tmp_path)
    assert "generated-password" in stack_commands.welcome_message(settings)()
    status = os.fstat(1)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    assert "generated-password" not in stack_commands.welcome_message(settings)()
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
    assert "generated-password" in stack_commands.welcome_message(settings)()
