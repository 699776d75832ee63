"""The agent against a fake GitLab server: real HTTP, real git, real processes."""

import asyncio
import contextlib
import errno
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent import config as configuration
from agent import runner
from agent.cli import app
from agent.config import Config
from agent.processes.process_cleanup import find_session_members, find_sessions
from agent.runner import run
from tests.support.in_process.agent_coordinator import FakeGitLabServer, read_command_lines, running_fake_gitlab
from tests.support.waiting import eventually

TIMEOUT_SECONDS = 20.0
GIT_COMMAND = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com"]


@pytest.fixture
async def gitlab() -> AsyncIterator[FakeGitLabServer]:
    async with running_fake_gitlab() as server:
        yield server


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    (path / "greeting").write_text("good morning\n")
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*GIT_COMMAND, *command], cwd=path, check=True)
    return path


def head_sha(repository: Path) -> str:
    return subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=repository, text=True).strip()


def job_payload(number: int, repository: Path, *script: str, **fields: Any) -> dict[str, Any]:
    source = {
        "repo_url": str(repository),
        "sha": head_sha(repository),
        "ref": "main",
        "refspecs": ["+refs/heads/main:refs/remotes/origin/main"],
        "depth": 1,
    }
    steps = [{"name": "script", "script": list(script), "when": "on_success"}]
    return {"id": number, "token": f"token-of-{number}", "git_info": source, "variables": [], "steps": steps} | fields


def job_variable(key: str, value: str, **flags: bool) -> dict[str, Any]:
    return {"key": key, "value": value, **flags}


def agent_config(
    server: FakeGitLabServer, tmp_path: Path, concurrency: int = 1, shutdown_timeout: float = 0.0
) -> Config:
    return Config(
        url=server.url,
        token="runner-token",
        id=7,
        name="tester",
        system_id="s_1",
        builds_dir=str(tmp_path / "builds"),
        concurrency=concurrency,
        grace_seconds=shutdown_timeout,
    )


@contextlib.asynccontextmanager
async def running_agent(config: Config) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    task = asyncio.create_task(run(config, stop=stop))
    try:
        yield stop
    finally:
        stop.set()
        await task


def find_sleeping_processes(seconds: str) -> list[int]:
    """Return the ids of processes that sleep for exactly this many seconds, and of shells whose script does."""
    sleeping = re.compile(rf"sleep[ \0]{seconds}\b")
    return [process for process, line in read_command_lines().items() if sleeping.search(line)]


async def test_a_script_runs_in_bash_with_pipefail_if_bash_is_available(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    script = ("[[ $CI_SERVER == y* ]] && echo in bash", "cat missing | sort", "echo not reached")
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, *script))
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert (final["failure_reason"], final["exit_code"]) == ("script_failure", 1)
    assert "in bash" in gitlab.log_text(1)
    assert "not reached" not in gitlab.log_text(1)


async def test_a_job_runs_in_a_fresh_checkout_and_reports_its_log_and_result(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.pending_jobs.put_nowait(
        job_payload(1, repository, "cat greeting", "git rev-parse HEAD", "pwd; echo $CI_PROJECT_DIR")
    )
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    lines = gitlab.log_text(1).splitlines()
    assert lines[0].startswith("Running with headrace-agent")
    assert lines[1:5] == [
        f"Cloning {repository}",
        f"Checking out {head_sha(repository)[:8]} as detached HEAD (ref is main)",
        "good morning",
        head_sha(repository),
    ]
    assert lines[5] == lines[6]
    assert final["state"] == "success"
    assert final["output"] == gitlab.checksum(1)
    assert gitlab.state_reports[1][0]["state"] == "running"
    assert list((tmp_path / "builds").iterdir()) == []


async def test_a_failing_script_stops_at_the_failing_line_and_reports_its_exit_code(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "echo before", "sh -c 'exit 42'", "echo after"))
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert (final["state"], final["failure_reason"], final["exit_code"]) == ("failed", "script_failure", 42)
    assert "before" in gitlab.log_text(1)
    assert "after" not in gitlab.log_text(1)


async def test_later_steps_run_only_when_their_condition_holds(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    steps = [
        {"name": "lint", "script": ["exit 5"], "allow_failure": True},
        {"name": "script", "script": ["exit 3"]},
        {"name": "publish", "script": ["echo published"], "when": "on_success"},
        {"name": "explain", "script": ["echo explained $CI_JOB_STATUS"], "when": "on_failure"},
        {"name": "after_script", "script": ["echo cleaned $CI_JOB_STATUS; exit 9"], "when": "always"},
    ]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, steps=steps))
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert final["exit_code"] == 3
    assert "published" not in gitlab.log_text(1)
    assert "explained failed" in gitlab.log_text(1)
    assert "cleaned failed" in gitlab.log_text(1)


async def test_a_value_written_in_two_pieces_is_masked_in_the_log(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    script = ["printf 'see swordfi'", "sleep 1.3", "echo 'sh-2000 there'", "printf %s $WORD | base64"]
    variables = [job_variable("WORD", "swordfish-2000", masked=True)]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, *script, variables=variables))
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_for_final_state(1)
    assert "see [MASKED] there\n[MASKED]\n" in gitlab.log_text(1)
    assert len(gitlab.trace_ranges) > 1


async def test_file_variables_are_private_files_and_jobs_do_not_inherit_the_agents_environment(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_ONLY", "not-for-jobs")
    variables = [job_variable("NOTE", "two\nlines", file=True), job_variable("PLAIN", "a $HOME 'b'", raw=True)]
    script = ["cat $NOTE; echo", "stat -c %a $NOTE", 'echo "$PLAIN"', "env"]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, *script, variables=variables))
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_for_final_state(1)
    assert "two\nlines\n600\na $HOME 'b'\n" in gitlab.log_text(1)
    assert "not-for-jobs" not in gitlab.log_text(1)


async def test_a_job_timeout_kills_the_whole_process_group_of_the_script(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    script = ["trap '' TERM", "sleep 7001 & (trap '' TERM; sleep 7001; sleep 7001) &", "echo up", "sleep 7001"]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, *script, runner_info={"timeout": 1}))
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert find_sleeping_processes("7001") == []
    assert (final["state"], final["failure_reason"]) == ("failed", "job_execution_timeout")
    assert "exit_code" not in final
    assert "time limit exceeded" in gitlab.log_text(1)


async def test_background_processes_that_hold_the_output_pipe_do_not_block_the_job(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    script = ["sleep 7002 &", "setsid -f sleep 7002", "echo done"]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, *script))
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
        await eventually(lambda: find_sleeping_processes("7002") == [])
    assert final["state"] == "success"


DETACHED_PROCESSES = (  # each ignores SIGTERM where it can and clears its environment
    "env -i setsid sh -c 'trap \"\" TERM; sleep 7011; sleep 7011' &",
    "(setsid sh -c 'env -i setsid sleep 7011 & exit' &)",
    "until [ $(pgrep -fc 'sleep 701[1]') -ge 3 ]; do sleep 0.05; done",
)


async def test_a_job_timeout_kills_detached_processes_too(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.pending_jobs.put_nowait(
        job_payload(1, repository, *DETACHED_PROCESSES, "echo up; sleep 7011", runner_info={"timeout": 3})
    )
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_until(lambda: "up" in gitlab.log_text(1))
        final = await gitlab.wait_for_final_state(1)
        assert find_sleeping_processes("7011") == []
    assert final["failure_reason"] == "job_execution_timeout"


async def test_a_finished_job_leaves_no_processes_and_does_not_affect_a_concurrent_job(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    neighbour = ("setsid sleep 7012 &", f"until [ -e {go} ]; do sleep 0.05; done", "pgrep -f 'sleep 701[2]'")
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, *neighbour))
    gitlab.pending_jobs.put_nowait(job_payload(2, repository, *DETACHED_PROCESSES))
    async with running_agent(agent_config(gitlab, tmp_path, concurrency=2)):
        assert (await gitlab.wait_for_final_state(2))["state"] == "success"
        assert find_sleeping_processes("7011") == []
        go.touch()
        assert (await gitlab.wait_for_final_state(1))["state"] == "success"


async def test_the_agent_recovers_when_its_process_spawner_is_killed(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "true"))
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_for_final_state(1)
        builds = str(tmp_path / "builds")
        [nursery] = [process for process, line in read_command_lines().items() if builds in line]
        os.kill(nursery, signal.SIGKILL)
        gitlab.pending_jobs.put_nowait(job_payload(2, repository, "true"))
        assert (await gitlab.wait_for_final_state(2))["state"] == "success"


@pytest.mark.parametrize("status", ["canceled", "failed"])
async def test_a_job_already_finished_on_the_server_is_stopped_and_reports_no_result(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path, status: str
) -> None:
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "echo up", "sleep 7003 & sleep 7003"))
    async with running_agent(agent_config(gitlab, tmp_path)):
        await eventually(lambda: find_sleeping_processes("7003"))
        gitlab.job_status = status
        await eventually(lambda: find_sleeping_processes("7003") == [])
        await eventually(lambda: not list((tmp_path / "builds").glob("run-*/job-*")))
    assert {state["state"] for state in gitlab.state_reports[1]} == {"running"}


async def test_a_graceful_cancel_runs_after_script_and_reports_job_canceled(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    steps = [
        {"name": "script", "script": ["exec sleep 7004"]},
        {"name": "after_script", "script": ["echo cleaned $CI_JOB_STATUS"], "when": "always"},
    ]
    payload = job_payload(1, repository, steps=steps, features={"failure_reasons": ["job_canceled"]})
    gitlab.pending_jobs.put_nowait(payload)
    async with running_agent(agent_config(gitlab, tmp_path)):
        await eventually(lambda: find_sleeping_processes("7004"))
        gitlab.job_status = "canceling"
        final = await gitlab.wait_for_final_state(1)
    assert (final["state"], final["failure_reason"]) == ("failed", "job_canceled")
    assert "cleaned canceled" in gitlab.log_text(1)
    assert "Terminated" not in gitlab.log_text(1)
    assert find_sleeping_processes("7004") == []


AFTER_SCRIPT_STEP = {
    "name": "after_script",
    "script": ["echo after $CI_JOB_STATUS"],
    "when": "always",
    "allow_failure": True,
}


async def test_after_script_sees_the_success_status_and_its_failure_does_not_change_it(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    failing = AFTER_SCRIPT_STEP | {"script": ["echo after $CI_JOB_STATUS; sleep 7008"], "timeout": 1}
    gitlab.pending_jobs.put_nowait(
        job_payload(1, repository, steps=[{"name": "script", "script": ["echo so"]}, failing])
    )
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert final["state"] == "success"
    assert "after success" in gitlab.log_text(1)
    assert find_sleeping_processes("7008") == []


async def test_a_job_canceled_before_its_script_started_runs_no_after_script(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.job_status = "canceling"
    gitlab.pending_jobs.put_nowait(
        job_payload(1, repository, steps=[{"name": "script", "script": ["echo so"]}, AFTER_SCRIPT_STEP])
    )
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert final["state"] == "failed"
    assert [line for line in gitlab.log_text(1).splitlines() if line in ("so", "after canceled")] == []


async def test_after_script_is_stopped_when_the_job_is_already_canceled_on_the_server(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    steps = [{"name": "script", "script": ["sleep 7009"]}, AFTER_SCRIPT_STEP | {"script": ["sleep 7010"]}]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, steps=steps))
    async with running_agent(agent_config(gitlab, tmp_path)):
        await eventually(lambda: find_sleeping_processes("7009"))
        gitlab.job_status = "canceling"
        await eventually(lambda: find_sleeping_processes("7010"))
        assert find_sleeping_processes("7009") == []
        gitlab.job_status = "canceled"
        await eventually(lambda: find_sleeping_processes("7010") == [])
    assert {state["state"] for state in gitlab.state_reports[1]} == {"running"}


async def test_a_cancel_during_after_script_does_not_change_the_result(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    script = [f"echo after $CI_JOB_STATUS; until [ -e {go} ]; do sleep 0.05; done; echo done"]
    steps = [{"name": "script", "script": ["true"]}, AFTER_SCRIPT_STEP | {"script": script}]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, steps=steps))
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_until(lambda: "after success" in gitlab.log_text(1))
        gitlab.job_status = "canceling"
        beats = len(gitlab.state_reports[1])
        await gitlab.wait_until(lambda: len(gitlab.state_reports[1]) > beats)
        go.touch()
        final = await gitlab.wait_for_final_state(1)
    assert final["state"] == "success"
    assert "done" in gitlab.log_text(1)


async def test_the_agent_resends_the_part_of_the_log_that_the_server_lost(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "echo first", "sleep 1.3", "echo second"))
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_until(lambda: "first" in gitlab.log_text(1))
        gitlab.truncate_log_at = 10
        final = await gitlab.wait_for_final_state(1)
    assert gitlab.log_text(1).count("first\nsecond\n") == 1
    assert final["output"] == gitlab.checksum(1)


async def test_the_agent_resends_the_log_after_a_checksum_mismatch_and_retries_a_final_state(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.final_state_statuses = [412, 202, 500, 200]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "cat greeting"))
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_until(lambda: gitlab.state_reports[1] and not gitlab.final_state_statuses)
    assert gitlab.log_text(1).count("good morning") == 1
    assert [state["state"] for state in gitlab.state_reports[1]] == ["running", *["success"] * 4]
    assert gitlab.state_reports[1][-1]["output"] == gitlab.checksum(1)


async def test_a_server_restart_during_a_job_loses_neither_log_nor_result(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    gitlab.pending_jobs.put_nowait(
        job_payload(1, repository, "echo first", f"until [ -e {go} ]; do sleep 0.1; done", "echo last")
    )
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_until(lambda: "first" in gitlab.log_text(1))
        await gitlab.restart(go.touch)
        final = await gitlab.wait_for_final_state(1)
    assert "first\nlast\nJob succeeded\n" in gitlab.log_text(1)
    assert final["state"] == "success"
    assert final["output"] == gitlab.checksum(1)


async def test_a_long_server_outage_loses_neither_log_nor_result(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    gitlab.pending_jobs.put_nowait(
        job_payload(1, repository, "echo first", f"until [ -e {go} ]; do sleep 0.1; done", "seq 5000")
    )
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_until(lambda: "first" in gitlab.log_text(1))
        go.touch()
        await gitlab.simulate_outage(attempts=6)
        final = await gitlab.wait_for_final_state(1)
        gitlab.pending_jobs.put_nowait(job_payload(2, repository, "cat greeting"))
        assert (await gitlab.wait_for_final_state(2))["state"] == "success"
    assert "4999\n5000\nJob succeeded\n" in gitlab.log_text(1)
    assert (final["state"], final["output"]) == ("success", gitlab.checksum(1))


async def test_git_strategy_submodules_and_depth_follow_the_job_variables(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    part = tmp_path / "part"
    local = ["-c", "protocol.file.allow=always"]
    for command in (
        ["clone", "-q", str(repository), str(part)],
        ["-C", str(repository), *local, "submodule", "--quiet", "add", str(part), "part"],
        ["-C", str(repository), "commit", "-q", "-m", "with a part"],
    ):
        subprocess.run([*GIT_COMMAND, *command], check=True)  # noqa: ASYNC221
    variable_sets = [
        [job_variable("GIT_SUBMODULE_STRATEGY", "recursive"), job_variable("GIT_DEPTH", "0")],
        [job_variable("GIT_SUBMODULE_STRATEGY", "none")],
        [job_variable("GIT_STRATEGY", "none")],
    ]
    print_state = "cat part/greeting || true; git rev-list --count HEAD || true; ls -A"
    for number, variables in enumerate(variable_sets):
        gitlab.pending_jobs.put_nowait(job_payload(number, repository, print_state, variables=variables))
    async with running_agent(agent_config(gitlab, tmp_path)):
        for number in range(len(variable_sets)):
            await gitlab.wait_for_final_state(number)
    logs = [gitlab.log_text(number).splitlines()[3:-1] for number in range(len(variable_sets))]
    assert logs[0][:2] == ["good morning", "2"]
    assert logs[1][1:2] == ["1"]
    assert not [line for line in logs[2] if line in (".git", "greeting")]


async def test_an_ssh_key_is_not_written_to_disk(gitlab: FakeGitLabServer, repository: Path, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)  # noqa: ASYNC221
    key = (tmp_path / "key").read_text()
    public = (tmp_path / "key.pub").read_text().split()[1]
    (tmp_path / "key").unlink()
    # ssh-keygen, like ssh, rejects a key file that others can read
    script = ("ssh-keygen -y -f $HEADRACE_SSH_KEY", f"grep -rl PRIV[A]TE {tmp_path} || echo nowhere")
    variables = [job_variable("HEADRACE_SSH_KEY", key, file=True, masked=True)]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, *script, variables=variables))
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_for_final_state(1)
    assert public in gitlab.log_text(1)
    assert "nowhere\n" in gitlab.log_text(1)


async def test_four_slots_run_four_jobs_at_once(gitlab: FakeGitLabServer, repository: Path, tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    wait_for_all = f"touch {meeting}/$N; until [ $(ls {meeting} | wc -l) = 4 ]; do sleep 0.05; done"
    for number in range(4):
        gitlab.pending_jobs.put_nowait(
            job_payload(number, repository, wait_for_all, variables=[job_variable("N", str(number))])
        )
    async with running_agent(agent_config(gitlab, tmp_path, concurrency=4)):
        finals = [await gitlab.wait_for_final_state(number) for number in range(4)]
    assert [final["state"] for final in finals] == ["success"] * 4


async def test_a_missing_commit_fails_the_job_with_the_error_of_git(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    payload = job_payload(1, repository, "echo never")
    payload["git_info"]["sha"] = "0123456789" * 4
    payload["features"] = {"failure_reasons": ["runner_external_dependency_failure"]}
    gitlab.pending_jobs.put_nowait(payload)
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert final["failure_reason"] == "runner_external_dependency_failure"
    assert "fatal: " in gitlab.log_text(1)


async def test_credentials_of_a_repository_url_are_sent_only_to_the_git_server(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    subprocess.run(["git", "update-server-info"], cwd=repository, check=True)  # noqa: ASYNC221
    gitlab.served_repository, gitlab.login = repository / ".git", ("ada", "pa:ss-w0rd")
    payload = job_payload(1, repository, "cat greeting .git/config; env; git fetch -q origin 2>&1 || true")
    payload["git_info"]["repo_url"] = gitlab.url.replace("http://", "http://ada:pa%3Ass-w0rd@") + "/served"
    gitlab.pending_jobs.put_nowait(payload)
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert final["state"] == "success"
    assert f"Cloning {gitlab.url}/served\n" in gitlab.log_text(1)
    assert f"url = {gitlab.url}/served\n" in gitlab.log_text(1).replace('"', "")
    assert [text for text in ("ss-w0rd", "[MASKED]", "Authorization") if text in gitlab.log_text(1)] == []
    assert not any("ss-w0rd" in line for line in gitlab.command_lines)


async def test_a_job_that_cannot_be_parsed_is_reported_as_failed_and_the_next_job_runs(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, steps="nonsense"))
    gitlab.pending_jobs.put_nowait(job_payload(2, repository, "cat greeting"))
    async with running_agent(agent_config(gitlab, tmp_path)):
        assert (await gitlab.wait_for_final_state(1))["failure_reason"] == "runner_system_failure"
        assert (await gitlab.wait_for_final_state(2))["state"] == "success"


async def test_a_job_without_disk_space_is_reported_as_failed_and_the_next_job_runs(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make: Callable[..., str] = tempfile.mkdtemp

    def mkdtemp(**wanted: Any) -> str:
        if wanted["prefix"].startswith("job-1-"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return make(**wanted)

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    monkeypatch.setattr(runner, "DISK_FULL_DELAY_SECONDS", 0)
    for number in (1, 2):
        gitlab.pending_jobs.put_nowait(job_payload(number, repository, "true"))
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = [await gitlab.wait_for_final_state(number) for number in (1, 2)]
    assert [(state["state"], state.get("failure_reason")) for state in final] == [
        ("failed", "runner_system_failure"),
        ("success", None),
    ]


async def test_a_variable_too_large_for_the_environment_fails_the_job(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    variables = [job_variable("HUGE", "x" * 200_000)]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "echo never", variables=variables))
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert final["failure_reason"] == "runner_system_failure"
    assert "Argument list too long" in gitlab.log_text(1)


async def test_a_stopping_agent_stops_its_jobs_and_reports_them_as_interrupted(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    features = {"failure_reasons": ["runner_interrupted"]}
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "sleep 7005 & sleep 7005", features=features))
    async with running_agent(agent_config(gitlab, tmp_path)) as stop:
        await eventually(lambda: find_sleeping_processes("7005"))
        stop.set()
        final = await gitlab.wait_for_final_state(1)
    assert (final["state"], final["failure_reason"]) == ("failed", "runner_interrupted")
    assert find_sleeping_processes("7005") == []


async def test_a_stopping_agent_lets_a_job_finish_within_the_shutdown_timeout(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "echo up", f"until [ -e {go} ]; do sleep 0.05; done"))
    async with running_agent(agent_config(gitlab, tmp_path, shutdown_timeout=TIMEOUT_SECONDS)) as stop:
        await gitlab.wait_until(lambda: "up" in gitlab.log_text(1))
        stop.set()
        go.touch()
        final = await gitlab.wait_for_final_state(1)
    assert final["state"] == "success"


async def test_a_killed_agent_leaves_no_processes_and_a_new_agent_takes_jobs(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    path = tmp_path / "agent.json"
    configuration.save(path, agent_config(gitlab, tmp_path))
    command = [sys.executable, "-c", "from agent.cli import app; app()", "run", "--config", str(path)]
    escape = "(env -i setsid sh -c 'env -i setsid sleep 7006 & exit' &)"
    gitlab.pending_jobs.put_nowait(
        job_payload(1, repository, f"sleep 7006 & setsid -f sleep 7006; {escape}; env -i sleep 7006")
    )
    agent = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: ASYNC220
    try:
        await eventually(lambda: sum("sleep\x007006" in line for line in read_command_lines().values()) == 4)
    finally:
        agent.kill()
        agent.wait()
    await eventually(lambda: find_sleeping_processes("7006") == [])
    gitlab.pending_jobs.put_nowait(job_payload(2, repository, "cat greeting"))
    successor = await asyncio.create_subprocess_exec(*command, "--once", stderr=asyncio.subprocess.DEVNULL)
    assert await successor.wait() == 0
    assert gitlab.state_reports[2][-1]["state"] == "success"
    assert list((tmp_path / "builds").iterdir()) == []


async def test_sigterm_stops_the_agent_command_with_exit_status_0(gitlab: FakeGitLabServer, tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    configuration.save(path, agent_config(gitlab, tmp_path))
    command = [sys.executable, "-c", "from agent.cli import app; app()", "run", "--config", str(path)]
    agent = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert agent.stderr
    assert b"requests jobs" in await agent.stderr.readline()
    agent.send_signal(signal.SIGTERM)
    assert await agent.wait() == 0
    assert b"stopped" in await agent.stderr.read()


async def test_a_stopping_ephemeral_agent_finishes_its_pending_poll_and_unregisters(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    path = tmp_path / "agent.json"
    configuration.save(path, agent_config(gitlab, tmp_path, shutdown_timeout=TIMEOUT_SECONDS))
    gitlab.runners["runner-token"] = {}
    command = [
        sys.executable,
        "-c",
        "from agent.cli import app; app()",
        "run",
        "--ephemeral",
        "--config",
        str(path),
    ]
    agent = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert agent.stderr
    await gitlab.wait_until(lambda: gitlab.job_request_count)
    agent.send_signal(signal.SIGTERM)
    while b"no more jobs" not in await agent.stderr.readline():
        pass
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "cat greeting"))
    assert await agent.wait() == 0
    assert gitlab.state_reports[1][-1]["state"] == "success"
    assert gitlab.runners == {}
    assert not path.exists()


async def test_the_agent_registers_verifies_and_unregisters_a_runner(gitlab: FakeGitLabServer, tmp_path: Path) -> None:
    path = tmp_path / "settings" / "agent.json"
    config = ["--config", str(path)]
    environment = {"HEADRACE_REGISTRATION_TOKEN": "registration"}
    register = ["register", "--url", gitlab.url, "--description", "mill", "--tag", "linux", "--tag", "big", *config]

    async def call(*arguments: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)
        return result.exit_code, result.output

    assert (await call(*register))[0] == 0
    registered = gitlab.runners["runner-token"]
    assert (registered["description"], registered["tag_list"], registered["run_untagged"]) == (
        "mill",
        "linux,big",
        False,
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert configuration.load(path)[0].token == "runner-token"
    assert (await call("verify", *config))[0] == 0
    before = path.read_bytes()
    assert "Already registered" in (await call(*register, "--if-missing"))[1]
    assert path.read_bytes() == before
    assert (await call("unregister", *config))[0] == 0
    assert not path.exists()
    assert gitlab.runners == {}


async def test_one_configuration_file_can_hold_several_runners(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    config = ["--config", str(tmp_path / "agent.json")]
    environment = {"HEADRACE_REGISTRATION_TOKEN": "registration"}

    async def call(*arguments: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)
        return result.exit_code, result.output

    register = ("register", "--url", gitlab.url, *config)
    assert (await call(*register, "--description", "one", "--paused", "--maximum-timeout", "60"))[0] == 0
    assert (await call(*register, "--description", "two", "--protected", "--locked", "--executor", "docker"))[0] == 0
    first, second = gitlab.runners.values()
    assert (first["paused"], first["maximum_timeout"], first["info"]["executor"]) == (True, 60, "shell")
    assert (second["access_level"], second["locked"], second["info"]["executor"]) == ("ref_protected", True, "docker")
    _, listed = await call("list", *config)
    assert [line.split("\t")[0] for line in listed.splitlines()] == ["7", "8"]
    assert "runner-token" not in listed
    assert (await call("unregister", *config)) == (
        1,
        f"Error: {config[1]} has the runners 7, 8: choose one with --runner, or use --all\n",
    )
    assert (await call("unregister", *config, "--runner", "8"))[0] == 0
    assert list(gitlab.runners) == ["runner-token"]
    assert (await call("verify", *config, "--runner", "8"))[0] == 1
    assert (await call("verify", *config))[0] == 0


async def test_a_second_sigterm_stops_an_agent_that_waits_for_its_jobs(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    path = tmp_path / "agent.json"
    configuration.save(
        path, agent_config(gitlab, tmp_path, shutdown_timeout=600), agent_config(gitlab, tmp_path, shutdown_timeout=600)
    )
    command = [sys.executable, "-c", "from agent.cli import app; app()", "run", "--config", str(path)]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "echo up; sleep 7008"))
    agent = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert agent.stderr
    await gitlab.wait_until(lambda: "up" in gitlab.log_text(1))
    agent.send_signal(signal.SIGTERM)
    while b"waiting up to" not in await agent.stderr.readline():
        pass
    agent.send_signal(signal.SIGTERM)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        assert await agent.wait() == 0
    assert find_sleeping_processes("7008") == []
    assert list((tmp_path / "builds").iterdir()) == []


async def test_registering_at_an_unreachable_server_prints_one_error_line(tmp_path: Path) -> None:
    arguments = ["register", "--url", "http://127.0.0.1:9", "--config", str(tmp_path / "agent.json"), "--token", "t"]
    result = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--wait", "0"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: the server at http://127.0.0.1:9/api/v4/ cannot be reached: ")


async def test_registering_with_wait_retries_until_the_server_is_reachable(
    gitlab: FakeGitLabServer, tmp_path: Path
) -> None:
    more_than_usual = asyncio.create_task(gitlab.simulate_outage(attempts=6))
    arguments = ["register", "--url", gitlab.url, "--config", str(tmp_path / "agent.json"), "--token", "registration"]
    agent = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra", "agent", *arguments, "--wait", "60", stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(TIMEOUT_SECONDS):
        _, errors = await agent.communicate()
        await more_than_usual
    assert errors.startswith(f"POST {gitlab.url}/api/v4/runners: ".encode())
    assert errors.endswith(b"; retrying for up to 60 seconds\n")
    assert (agent.returncode, len(gitlab.runners)) == (0, 1)


async def test_registering_with_a_wrong_token_prints_one_error_line(gitlab: FakeGitLabServer, tmp_path: Path) -> None:
    arguments = ["register", "--url", gitlab.url, "--config", str(tmp_path / "agent.json"), "--token", "wrong"]
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert result.exit_code == 1
    assert result.output == f"Error: {gitlab.url} does not accept this registration token\n"


async def test_only_processes_of_the_run_folder_are_found_for_clean_up(tmp_path: Path) -> None:
    inside = os.environ | {"CI_PROJECT_DIR": f"{tmp_path}/run-1/job-1/checkout"}
    with subprocess.Popen(["sleep", "7007"], env=inside, start_new_session=True) as process:  # noqa: ASYNC220
        # a process that is just starting has no environment yet
        await eventually(lambda: find_session_members(find_sessions(tmp_path / "run-1")) == [process.pid])
        elsewhere = find_session_members(find_sessions(tmp_path / "run"))
        process.kill()
    assert elsewhere == []
