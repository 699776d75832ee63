"""The agent's commands that register, verify and unregister a runner, and their error messages."""

import asyncio
import stat
import sys
from pathlib import Path

from typer.testing import CliRunner

from agent import config as configuration
from agent.cli import app
from tests.integration.agent.agent_runs import TIMEOUT_SECONDS
from tests.support.in_process.fake_gitlab import FakeGitLabServer


async def test_the_agent_registers_verifies_and_unregisters_a_runner(gitlab: FakeGitLabServer, tmp_path: Path) -> None:
    path = tmp_path / "settings" / "agent.json"
    config = ["--config", str(path)]
    environment = {"HEADRACE_REGISTRATION_TOKEN": "registration"}
    register = ["register", "--url", gitlab.url, "--description", "mill", "--tag", "linux", "--tag", "big", *config]

    async def run_cli(*arguments: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)
        return result.exit_code, result.output

    assert (await run_cli(*register))[0] == 0
    registered = gitlab.runners["runner-token"]
    assert (registered["description"], registered["tag_list"], registered["run_untagged"]) == (
        "mill",
        "linux,big",
        False,
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert configuration.load(path)[0].token == "runner-token"
    assert (await run_cli("verify", *config))[0] == 0
    before = path.read_bytes()
    assert "Already registered" in (await run_cli(*register, "--if-missing"))[1]
    assert path.read_bytes() == before
    assert (await run_cli("unregister", *config))[0] == 0
    assert not path.exists()
    assert gitlab.runners == {}


async def test_one_configuration_file_can_hold_several_runners(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    config = ["--config", str(tmp_path / "agent.json")]
    environment = {"HEADRACE_REGISTRATION_TOKEN": "registration"}

    async def run_cli(*arguments: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)
        return result.exit_code, result.output

    register = ("register", "--url", gitlab.url, *config)
    shell = ("--executor", "shell")
    assert (await run_cli(*register, "--description", "one", "--paused", "--maximum-timeout", "60", *shell))[0] == 0
    assert (await run_cli(*register, "--description", "two", "--protected", "--locked"))[0] == 0
    first, second = gitlab.runners.values()
    assert (first["paused"], first["maximum_timeout"], first["info"]["executor"]) == (True, 60, "shell")
    assert (second["access_level"], second["locked"], second["info"]["executor"]) == ("ref_protected", True, "docker")
    _, listed = await run_cli("list", *config)
    assert [line.split("\t")[0] for line in listed.splitlines()] == ["7", "8"]
    assert "runner-token" not in listed
    assert (await run_cli("unregister", *config)) == (
        1,
        f"Error: {config[1]} has the runners 7, 8: choose one with --runner, or use --all\n",
    )
    assert (await run_cli("unregister", *config, "--runner", "8"))[0] == 0
    assert list(gitlab.runners) == ["runner-token"]
    assert (await run_cli("verify", *config, "--runner", "8"))[0] == 1
    assert (await run_cli("verify", *config))[0] == 0


async def test_registering_at_an_unreachable_server_prints_one_error_line(tmp_path: Path) -> None:
    arguments = ["register", "--url", "http://127.0.0.1:9", "--config", str(tmp_path / "agent.json"), "--token", "t"]
    result = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--wait", "0"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: the server at http://127.0.0.1:9/api/v4/ cannot be reached: ")


async def test_registering_with_wait_retries_until_the_server_is_reachable(
    gitlab: FakeGitLabServer, tmp_path: Path
) -> None:
    outage = asyncio.create_task(gitlab.simulate_outage(attempts=6))
    arguments = ["register", "--url", gitlab.url, "--config", str(tmp_path / "agent.json"), "--token", "registration"]
    agent = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra", "agent", *arguments, "--wait", "60", stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(TIMEOUT_SECONDS):
        _, errors = await agent.communicate()
        await outage
    assert errors.startswith(f"POST {gitlab.url}/api/v4/runners: ".encode())
    assert errors.endswith(b"; retrying for up to 60 seconds\n")
    assert (agent.returncode, len(gitlab.runners)) == (0, 1)


async def test_registering_with_a_wrong_token_prints_one_error_line(gitlab: FakeGitLabServer, tmp_path: Path) -> None:
    arguments = ["register", "--url", gitlab.url, "--config", str(tmp_path / "agent.json"), "--token", "wrong"]
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert result.exit_code == 1
    assert result.output == f"Error: {gitlab.url} does not accept this registration token\n"
