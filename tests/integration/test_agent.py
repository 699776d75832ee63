"""The agent against a server that plays the protocol: real HTTP, real git, real processes."""

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
from agent.command import app
from agent.config import Config
from agent.runner import run
from agent.strays import members, sessions
from tests.integration.agent_coordinator import Coordinator, command_lines, coordinator

DEADLINE = 20.0
GIT = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com"]


@pytest.fixture
async def server() -> AsyncIterator[Coordinator]:
    async with coordinator() as server:
        yield server


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    (path / "greeting").write_text("good morning\n")
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*GIT, *command], cwd=path, check=True)
    return path


def head(repository: Path) -> str:
    return subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=repository, text=True).strip()


def job(number: int, repository: Path, *script: str, **fields: Any) -> dict[str, Any]:
    source = {
        "repo_url": str(repository),
        "sha": head(repository),
        "ref": "main",
        "refspecs": ["+refs/heads/main:refs/remotes/origin/main"],
        "depth": 1,
    }
    steps = [{"name": "script", "script": list(script), "when": "on_success"}]
    return {"id": number, "token": f"token-of-{number}", "git_info": source, "variables": [], "steps": steps} | fields


def variable(key: str, value: str, **flags: bool) -> dict[str, Any]:
    return {"key": key, "value": value, **flags}


def configured(server: Coordinator, tmp_path: Path, concurrency: int = 1, grace: float = 0.0) -> Config:
    return Config(
        url=server.url,
        token="runner-token",
        id=7,
        name="tester",
        system_id="s_1",
        builds_dir=str(tmp_path / "builds"),
        concurrency=concurrency,
        grace_seconds=grace,
    )


@contextlib.asynccontextmanager
async def serving(config: Config) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    task = asyncio.create_task(run(config, stop=stop))
    try:
        yield stop
    finally:
        stop.set()
        await task


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def running(seconds: str) -> list[int]:
    """Processes that sleep so long, and shells whose script does: other numbers in command lines do not count."""
    sleeping = re.compile(rf"sleep[ \0]{seconds}\b")
    return [process for process, line in command_lines().items() if sleeping.search(line)]


async def test_a_script_runs_in_bash_where_there_is_one_and_fails_with_any_part_of_a_pipe(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    script = ("[[ $CI_SERVER == y* ]] && echo in bash", "cat missing | sort", "echo not reached")
    server.waiting.put_nowait(job(1, repository, *script))
    async with serving(configured(server, tmp_path)):
        final = await server.final(1)
    assert (final["failure_reason"], final["exit_code"]) == ("script_failure", 1)
    assert "in bash" in server.log(1)
    assert "not reached" not in server.log(1)


async def test_a_job_runs_in_a_fresh_checkout_and_its_log_and_result_arrive(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    server.waiting.put_nowait(job(1, repository, "cat greeting", "git rev-parse HEAD", "pwd; echo $CI_PROJECT_DIR"))
    async with serving(configured(server, tmp_path)):
        final = await server.final(1)
    lines = server.log(1).splitlines()
    assert lines[0].startswith("Running with headrace-agent")
    assert lines[1:5] == [
        f"Cloning {repository}",
        f"Checking out {head(repository)[:8]} as detached HEAD (ref is main)",
        "good morning",
        head(repository),
    ]
    assert lines[5] == lines[6]
    assert final["state"] == "success"
    assert final["output"] == server.checksum(1)
    assert server.states[1][0]["state"] == "running"
    assert list((tmp_path / "builds").iterdir()) == []


async def test_a_failing_script_stops_at_the_failing_line_and_reports_its_exit_code(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    server.waiting.put_nowait(job(1, repository, "echo before", "sh -c 'exit 42'", "echo after"))
    async with serving(configured(server, tmp_path)):
        final = await server.final(1)
    assert (final["state"], final["failure_reason"], final["exit_code"]) == ("failed", "script_failure", 42)
    assert "before" in server.log(1)
    assert "after" not in server.log(1)


async def test_later_steps_run_as_their_condition_says(server: Coordinator, repository: Path, tmp_path: Path) -> None:
    steps = [
        {"name": "lint", "script": ["exit 5"], "allow_failure": True},
        {"name": "script", "script": ["exit 3"]},
        {"name": "publish", "script": ["echo published"], "when": "on_success"},
        {"name": "explain", "script": ["echo explained $CI_JOB_STATUS"], "when": "on_failure"},
        {"name": "after_script", "script": ["echo cleaned $CI_JOB_STATUS; exit 9"], "when": "always"},
    ]
    server.waiting.put_nowait(job(1, repository, steps=steps))
    async with serving(configured(server, tmp_path)):
        final = await server.final(1)
    assert final["exit_code"] == 3
    assert "published" not in server.log(1)
    assert "explained failed" in server.log(1)
    assert "cleaned failed" in server.log(1)


async def test_a_masked_value_never_reaches_the_server_even_in_two_pieces(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    script = ["printf 'see swordfi'", "sleep 1.3", "echo 'sh-2000 there'", "printf %s $WORD | base64"]
    variables = [variable("WORD", "swordfish-2000", masked=True)]
    server.waiting.put_nowait(job(1, repository, *script, variables=variables))
    async with serving(configured(server, tmp_path)):
        await server.final(1)
    assert "see [MASKED] there\n[MASKED]\n" in server.log(1)
    assert len(server.pieces) > 1


async def test_file_variables_are_private_paths_and_the_agents_environment_stays_outside(
    server: Coordinator, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_ONLY", "not-for-jobs")
    variables = [variable("NOTE", "two\nlines", file=True), variable("PLAIN", "a $HOME 'b'", raw=True)]
    script = ["cat $NOTE; echo", "stat -c %a $NOTE", 'echo "$PLAIN"', "env"]
    server.waiting.put_nowait(job(1, repository, *script, variables=variables))
    async with serving(configured(server, tmp_path)):
        await server.final(1)
    assert "two\nlines\n600\na $HOME 'b'\n" in server.log(1)
    assert "not-for-jobs" not in server.log(1)


async def test_a_time_out_ends_the_whole_group_of_a_hanging_script(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    script = ["trap '' TERM", "sleep 7001 & (trap '' TERM; sleep 7001; sleep 7001) &", "echo up", "sleep 7001"]
    server.waiting.put_nowait(job(1, repository, *script, runner_info={"timeout": 1}))
    async with serving(configured(server, tmp_path)):
        final = await server.final(1)
    assert running("7001") == []
    assert (final["state"], final["failure_reason"]) == ("failed", "job_execution_timeout")
    assert "exit_code" not in final
    assert "longer than its time limit" in server.log(1)


async def test_children_that_hold_the_pipe_open_do_not_hang_the_job(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    script = ["sleep 7002 &", "setsid -f sleep 7002", "echo done"]
    server.waiting.put_nowait(job(1, repository, *script))
    async with serving(configured(server, tmp_path)):
        final = await server.final(1)
        await until(lambda: running("7002") == [])
    assert final["state"] == "success"


ESCAPES = (  # each ignores what it can, and clears what it is known by
    "env -i setsid sh -c 'trap \"\" TERM; sleep 7011; sleep 7011' &",
    "(setsid sh -c 'env -i setsid sleep 7011 & exit' &)",
    "until [ $(pgrep -fc 'sleep 701[1]') -ge 3 ]; do sleep 0.05; done",
)


async def test_nothing_that_a_job_started_survives_a_time_out(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    server.waiting.put_nowait(job(1, repository, *ESCAPES, "echo up; sleep 7011", runner_info={"timeout": 3}))
    async with serving(configured(server, tmp_path)):
        await server.until(lambda: "up" in server.log(1))
        final = await server.final(1)
        assert running("7011") == []
    assert final["failure_reason"] == "job_execution_timeout"


async def test_nothing_that_a_job_started_survives_its_success_and_its_neighbour_is_not_touched(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    neighbour = ("setsid sleep 7012 &", f"until [ -e {go} ]; do sleep 0.05; done", "pgrep -f 'sleep 701[2]'")
    server.waiting.put_nowait(job(1, repository, *neighbour))
    server.waiting.put_nowait(job(2, repository, *ESCAPES))
    async with serving(configured(server, tmp_path, concurrency=2)):
        assert (await server.final(2))["state"] == "success"
        assert running("7011") == []
        go.touch()
        assert (await server.final(1))["state"] == "success"


async def test_an_agent_whose_nursery_was_killed_goes_on(server: Coordinator, repository: Path, tmp_path: Path) -> None:
    server.waiting.put_nowait(job(1, repository, "true"))
    async with serving(configured(server, tmp_path)):
        await server.final(1)
        builds = str(tmp_path / "builds")
        [nursery] = [process for process, line in command_lines().items() if builds in line]
        os.kill(nursery, signal.SIGKILL)
        server.waiting.put_nowait(job(2, repository, "true"))
        assert (await server.final(2))["state"] == "success"


@pytest.mark.parametrize("status", ["canceled", "failed"])
async def test_a_job_that_is_over_on_the_server_is_killed_without_a_result(
    server: Coordinator, repository: Path, tmp_path: Path, status: str
) -> None:
    server.waiting.put_nowait(job(1, repository, "echo up", "sleep 7003 & sleep 7003"))
    async with serving(configured(server, tmp_path)):
        await until(lambda: running("7003"))
        server.job_status = status
        await until(lambda: running("7003") == [])
        await until(lambda: not list((tmp_path / "builds").glob("run-*/job-*")))
    assert {state["state"] for state in server.states[1]} == {"running"}


async def test_a_graceful_cancel_runs_the_clean_up_and_reports(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    steps = [
        {"name": "script", "script": ["exec sleep 7004"]},
        {"name": "after_script", "script": ["echo cleaned $CI_JOB_STATUS"], "when": "always"},
    ]
    payload = job(1, repository, steps=steps, features={"failure_reasons": ["job_canceled"]})
    server.waiting.put_nowait(payload)
    async with serving(configured(server, tmp_path)):
        await until(lambda: running("7004"))
        server.job_status = "canceling"
        final = await server.final(1)
    assert (final["state"], final["failure_reason"]) == ("failed", "job_canceled")
    assert "cleaned canceled" in server.log(1)
    assert "Terminated" not in server.log(1)
    assert running("7004") == []


AFTER = {"name": "after_script", "script": ["echo after $CI_JOB_STATUS"], "when": "always", "allow_failure": True}


async def test_what_follows_a_success_knows_of_it_and_cannot_spoil_it(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    failing = AFTER | {"script": ["echo after $CI_JOB_STATUS; sleep 7008"], "timeout": 1}
    server.waiting.put_nowait(job(1, repository, steps=[{"name": "script", "script": ["echo so"]}, failing]))
    async with serving(configured(server, tmp_path)):
        final = await server.final(1)
    assert final["state"] == "success"
    assert "after success" in server.log(1)
    assert running("7008") == []


async def test_a_job_that_is_cancelled_before_its_script_began_has_nothing_to_clean_up(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    server.job_status = "canceling"
    server.waiting.put_nowait(job(1, repository, steps=[{"name": "script", "script": ["echo so"]}, AFTER]))
    async with serving(configured(server, tmp_path)):
        final = await server.final(1)
    assert final["state"] == "failed"
    assert [line for line in server.log(1).splitlines() if line in ("so", "after canceled")] == []


async def test_a_clean_up_is_cut_short_when_the_job_is_over_on_the_server(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    steps = [{"name": "script", "script": ["sleep 7009"]}, AFTER | {"script": ["sleep 7010"]}]
    server.waiting.put_nowait(job(1, repository, steps=steps))
    async with serving(configured(server, tmp_path)):
        await until(lambda: running("7009"))
        server.job_status = "canceling"
        await until(lambda: running("7010"))
        assert running("7009") == []
        server.job_status = "canceled"
        await until(lambda: running("7010") == [])
    assert {state["state"] for state in server.states[1]} == {"running"}


async def test_a_cancel_that_comes_after_the_script_changes_nothing(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    script = [f"echo after $CI_JOB_STATUS; until [ -e {go} ]; do sleep 0.05; done; echo done"]
    steps = [{"name": "script", "script": ["true"]}, AFTER | {"script": script}]
    server.waiting.put_nowait(job(1, repository, steps=steps))
    async with serving(configured(server, tmp_path)):
        await server.until(lambda: "after success" in server.log(1))
        server.job_status = "canceling"
        beats = len(server.states[1])
        await server.until(lambda: len(server.states[1]) > beats)
        go.touch()
        final = await server.final(1)
    assert final["state"] == "success"
    assert "done" in server.log(1)


async def test_a_server_that_lost_part_of_the_log_gets_it_again(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    server.waiting.put_nowait(job(1, repository, "echo first", "sleep 1.3", "echo second"))
    async with serving(configured(server, tmp_path)):
        await server.until(lambda: "first" in server.log(1))
        server.lose_from = 10
        final = await server.final(1)
    assert server.log(1).count("first\nsecond\n") == 1
    assert final["output"] == server.checksum(1)


async def test_a_wrong_checksum_is_answered_with_the_whole_log_and_an_unready_server_is_asked_again(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    server.answers = [412, 202, 500, 200]
    server.waiting.put_nowait(job(1, repository, "cat greeting"))
    async with serving(configured(server, tmp_path)):
        await server.until(lambda: server.states[1] and not server.answers)
    assert server.log(1).count("good morning") == 1
    assert [state["state"] for state in server.states[1]] == ["running", *["success"] * 4]
    assert server.states[1][-1]["output"] == server.checksum(1)


async def test_a_restart_of_the_server_in_the_middle_costs_neither_log_nor_result(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    server.waiting.put_nowait(job(1, repository, "echo first", f"until [ -e {go} ]; do sleep 0.1; done", "echo last"))
    async with serving(configured(server, tmp_path)):
        await server.until(lambda: "first" in server.log(1))
        await server.restart(go.touch)
        final = await server.final(1)
    assert "first\nlast\nJob succeeded\n" in server.log(1)
    assert final["state"] == "success"
    assert final["output"] == server.checksum(1)


async def test_an_outage_of_many_attempts_costs_neither_log_nor_result(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    server.waiting.put_nowait(job(1, repository, "echo first", f"until [ -e {go} ]; do sleep 0.1; done", "seq 5000"))
    async with serving(configured(server, tmp_path)):
        await server.until(lambda: "first" in server.log(1))
        go.touch()
        await server.outage(attempts=6)
        final = await server.final(1)
        server.waiting.put_nowait(job(2, repository, "cat greeting"))
        assert (await server.final(2))["state"] == "success"
    assert "4999\n5000\nJob succeeded\n" in server.log(1)
    assert (final["state"], final["output"]) == ("success", server.checksum(1))


async def test_submodules_and_depth_are_as_the_job_wishes(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    part = tmp_path / "part"
    local = ["-c", "protocol.file.allow=always"]
    for command in (
        ["clone", "-q", str(repository), str(part)],
        ["-C", str(repository), *local, "submodule", "--quiet", "add", str(part), "part"],
        ["-C", str(repository), "commit", "-q", "-m", "with a part"],
    ):
        subprocess.run([*GIT, *command], check=True)  # noqa: ASYNC221
    wishes = [
        [variable("GIT_SUBMODULE_STRATEGY", "recursive"), variable("GIT_DEPTH", "0")],
        [variable("GIT_SUBMODULE_STRATEGY", "none")],
        [variable("GIT_STRATEGY", "none")],
    ]
    look = "cat part/greeting || true; git rev-list --count HEAD || true; ls -A"
    for number, variables in enumerate(wishes):
        server.waiting.put_nowait(job(number, repository, look, variables=variables))
    async with serving(configured(server, tmp_path)):
        for number in range(len(wishes)):
            await server.final(number)
    said = [server.log(number).splitlines()[3:-1] for number in range(len(wishes))]
    assert said[0][:2] == ["good morning", "2"]
    assert said[1][1:2] == ["1"]
    assert not [line for line in said[2] if line in (".git", "greeting")]


async def test_an_ssh_key_is_in_no_file_of_a_disk(server: Coordinator, repository: Path, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)  # noqa: ASYNC221
    key = (tmp_path / "key").read_text()
    public = (tmp_path / "key.pub").read_text().split()[1]
    (tmp_path / "key").unlink()
    # ssh-keygen refuses what others can read, as ssh does
    script = ("ssh-keygen -y -f $HEADRACE_SSH_KEY", f"grep -rl PRIV[A]TE {tmp_path} || echo nowhere")
    variables = [variable("HEADRACE_SSH_KEY", key, file=True, masked=True)]
    server.waiting.put_nowait(job(1, repository, *script, variables=variables))
    async with serving(configured(server, tmp_path)):
        await server.final(1)
    assert public in server.log(1)
    assert "nowhere\n" in server.log(1)


async def test_four_slots_run_four_jobs_at_once(server: Coordinator, repository: Path, tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    everyone = f"touch {meeting}/$N; until [ $(ls {meeting} | wc -l) = 4 ]; do sleep 0.05; done"
    for number in range(4):
        server.waiting.put_nowait(job(number, repository, everyone, variables=[variable("N", str(number))]))
    async with serving(configured(server, tmp_path, concurrency=4)):
        finals = [await server.final(number) for number in range(4)]
    assert [final["state"] for final in finals] == ["success"] * 4


async def test_a_commit_that_does_not_exist_is_a_failure_in_gits_words(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    payload = job(1, repository, "echo never")
    payload["git_info"]["sha"] = "0123456789" * 4
    payload["features"] = {"failure_reasons": ["runner_external_dependency_failure"]}
    server.waiting.put_nowait(payload)
    async with serving(configured(server, tmp_path)):
        final = await server.final(1)
    assert final["failure_reason"] == "runner_external_dependency_failure"
    assert "fatal: " in server.log(1)


async def test_credentials_of_an_address_reach_the_server_of_the_repository_and_nothing_else(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    subprocess.run(["git", "update-server-info"], cwd=repository, check=True)  # noqa: ASYNC221
    server.served, server.login = repository / ".git", ("ada", "pa:ss-w0rd")
    payload = job(1, repository, "cat greeting .git/config; env; git fetch -q origin 2>&1 || true")
    payload["git_info"]["repo_url"] = server.url.replace("http://", "http://ada:pa%3Ass-w0rd@") + "/served"
    server.waiting.put_nowait(payload)
    async with serving(configured(server, tmp_path)):
        final = await server.final(1)
    assert final["state"] == "success"
    assert f"Cloning {server.url}/served\n" in server.log(1)
    assert f"url = {server.url}/served\n" in server.log(1).replace('"', "")
    assert [word for word in ("ss-w0rd", "[MASKED]", "Authorization") if word in server.log(1)] == []
    assert not any("ss-w0rd" in line for line in server.command_lines)


async def test_a_job_that_cannot_be_understood_is_reported_and_the_next_one_runs(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    server.waiting.put_nowait(job(1, repository, steps="nonsense"))
    server.waiting.put_nowait(job(2, repository, "cat greeting"))
    async with serving(configured(server, tmp_path)):
        assert (await server.final(1))["failure_reason"] == "runner_system_failure"
        assert (await server.final(2))["state"] == "success"


async def test_a_job_that_has_no_room_here_is_reported_and_the_next_one_runs(
    server: Coordinator, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make: Callable[..., str] = tempfile.mkdtemp

    def mkdtemp(**wanted: Any) -> str:
        if wanted["prefix"].startswith("job-1-"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return make(**wanted)

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    monkeypatch.setattr(runner, "NO_ROOM_SECONDS", 0)
    for number in (1, 2):
        server.waiting.put_nowait(job(number, repository, "true"))
    async with serving(configured(server, tmp_path)):
        final = [await server.final(number) for number in (1, 2)]
    assert [(one["state"], one.get("failure_reason")) for one in final] == [
        ("failed", "runner_system_failure"),
        ("success", None),
    ]


async def test_a_variable_too_large_for_a_process_is_a_finished_job(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    variables = [variable("HUGE", "x" * 200_000)]
    server.waiting.put_nowait(job(1, repository, "echo never", variables=variables))
    async with serving(configured(server, tmp_path)):
        final = await server.final(1)
    assert final["failure_reason"] == "runner_system_failure"
    assert "Argument list too long" in server.log(1)


async def test_stopping_kills_late_jobs_and_reports_them(server: Coordinator, repository: Path, tmp_path: Path) -> None:
    features = {"failure_reasons": ["runner_interrupted"]}
    server.waiting.put_nowait(job(1, repository, "sleep 7005 & sleep 7005", features=features))
    async with serving(configured(server, tmp_path)) as stop:
        await until(lambda: running("7005"))
        stop.set()
        final = await server.final(1)
    assert (final["state"], final["failure_reason"]) == ("failed", "runner_interrupted")
    assert running("7005") == []


async def test_stopping_lets_a_job_finish_within_the_grace_period(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    server.waiting.put_nowait(job(1, repository, "echo up", f"until [ -e {go} ]; do sleep 0.05; done"))
    async with serving(configured(server, tmp_path, grace=DEADLINE)) as stop:
        await server.until(lambda: "up" in server.log(1))
        stop.set()
        go.touch()
        final = await server.final(1)
    assert final["state"] == "success"


async def test_killing_the_agent_ends_its_jobs_and_a_new_one_goes_on(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    path = tmp_path / "agent.json"
    configuration.save(path, configured(server, tmp_path))
    command = [sys.executable, "-c", "from agent.command import app; app()", "run", "--config", str(path)]
    escape = "(env -i setsid sh -c 'env -i setsid sleep 7006 & exit' &)"
    server.waiting.put_nowait(job(1, repository, f"sleep 7006 & setsid -f sleep 7006; {escape}; env -i sleep 7006"))
    agent = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: ASYNC220
    try:
        await until(lambda: sum("sleep\x007006" in line for line in command_lines().values()) == 4)
    finally:
        agent.kill()
        agent.wait()
    await until(lambda: running("7006") == [])
    server.waiting.put_nowait(job(2, repository, "cat greeting"))
    successor = await asyncio.create_subprocess_exec(*command, "--once", stderr=asyncio.subprocess.DEVNULL)
    assert await successor.wait() == 0
    assert server.states[2][-1]["state"] == "success"
    assert list((tmp_path / "builds").iterdir()) == []


async def test_sigterm_ends_the_command_in_order(server: Coordinator, tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    configuration.save(path, configured(server, tmp_path))
    command = [sys.executable, "-c", "from agent.command import app; app()", "run", "--config", str(path)]
    agent = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert agent.stderr
    assert b"for jobs" in await agent.stderr.readline()
    agent.send_signal(signal.SIGTERM)
    assert await agent.wait() == 0
    assert b"left" in await agent.stderr.read()


async def test_an_ephemeral_agent_takes_the_job_that_is_on_its_way_and_then_leaves_no_runner_behind(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    path = tmp_path / "agent.json"
    configuration.save(path, configured(server, tmp_path, grace=DEADLINE))
    server.runners["runner-token"] = {}
    command = [
        sys.executable,
        "-c",
        "from agent.command import app; app()",
        "run",
        "--ephemeral",
        "--config",
        str(path),
    ]
    agent = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert agent.stderr
    await server.until(lambda: server.asked)
    agent.send_signal(signal.SIGTERM)
    while b"no more jobs" not in await agent.stderr.readline():
        pass
    server.waiting.put_nowait(job(1, repository, "cat greeting"))
    assert await agent.wait() == 0
    assert server.states[1][-1]["state"] == "success"
    assert server.runners == {}
    assert not path.exists()


async def test_register_verify_and_unregister(server: Coordinator, tmp_path: Path) -> None:
    path = tmp_path / "settings" / "agent.json"
    config = ["--config", str(path)]
    environment = {"HEADRACE_REGISTRATION_TOKEN": "registration"}
    register = ["register", "--url", server.url, "--description", "mill", "--tag", "linux", "--tag", "big", *config]

    async def call(*arguments: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)
        return result.exit_code, result.output

    assert (await call(*register))[0] == 0
    registered = server.runners["runner-token"]
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
    assert server.runners == {}


async def test_several_runners_share_a_file_and_are_served_together(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    config = ["--config", str(tmp_path / "agent.json")]
    environment = {"HEADRACE_REGISTRATION_TOKEN": "registration"}

    async def call(*arguments: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)
        return result.exit_code, result.output

    register = ("register", "--url", server.url, *config)
    assert (await call(*register, "--description", "one", "--paused", "--maximum-timeout", "60"))[0] == 0
    assert (await call(*register, "--description", "two", "--protected", "--locked", "--executor", "docker"))[0] == 0
    first, second = server.runners.values()
    assert (first["paused"], first["maximum_timeout"], first["info"]["executor"]) == (True, 60, "shell")
    assert (second["access_level"], second["locked"], second["info"]["executor"]) == ("ref_protected", True, "docker")
    _, listed = await call("list", *config)
    assert [line.split("\t")[0] for line in listed.splitlines()] == ["7", "8"]
    assert "runner-token" not in listed
    assert (await call("unregister", *config)) == (
        1,
        f"Error: {config[1]} holds the runners 7, 8: choose with --runner, or --all\n",
    )
    assert (await call("unregister", *config, "--runner", "8"))[0] == 0
    assert list(server.runners) == ["runner-token"]
    assert (await call("verify", *config, "--runner", "8"))[0] == 1
    assert (await call("verify", *config))[0] == 0


async def test_a_second_signal_ends_a_command_that_waits_for_its_jobs(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    path = tmp_path / "agent.json"
    configuration.save(path, configured(server, tmp_path, grace=600), configured(server, tmp_path, grace=600))
    command = [sys.executable, "-c", "from agent.command import app; app()", "run", "--config", str(path)]
    server.waiting.put_nowait(job(1, repository, "echo up; sleep 7008"))
    agent = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert agent.stderr
    await server.until(lambda: "up" in server.log(1))
    agent.send_signal(signal.SIGTERM)
    while b"waiting up to" not in await agent.stderr.readline():
        pass
    agent.send_signal(signal.SIGTERM)
    async with asyncio.timeout(DEADLINE):
        assert await agent.wait() == 0
    assert running("7008") == []
    assert list((tmp_path / "builds").iterdir()) == []


async def test_a_server_that_cannot_be_reached_is_one_clear_sentence(tmp_path: Path) -> None:
    arguments = ["register", "--url", "http://127.0.0.1:9", "--config", str(tmp_path / "agent.json"), "--token", "t"]
    result = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--wait", "0"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: the server at http://127.0.0.1:9/api/v4/ cannot be reached: ")


async def test_a_server_that_is_not_there_yet_is_waited_for(server: Coordinator, tmp_path: Path) -> None:
    more_than_usual = asyncio.create_task(server.outage(attempts=6))
    arguments = ["register", "--url", server.url, "--config", str(tmp_path / "agent.json"), "--token", "registration"]
    agent = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra", "agent", *arguments, "--wait", "60", stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(DEADLINE):
        _, told = await agent.communicate()
        await more_than_usual
    assert told.startswith(f"POST {server.url}/api/v4/runners: ".encode())
    assert told.endswith(b"; trying again, for 60 seconds at most\n")
    assert (agent.returncode, len(server.runners)) == (0, 1)


async def test_a_wrong_registration_token_is_one_clear_sentence(server: Coordinator, tmp_path: Path) -> None:
    arguments = ["register", "--url", server.url, "--config", str(tmp_path / "agent.json"), "--token", "wrong"]
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert result.exit_code == 1
    assert result.output == f"Error: {server.url} does not accept this registration token\n"


async def test_only_processes_of_the_folder_count_as_strays(tmp_path: Path) -> None:
    inside = os.environ | {"CI_PROJECT_DIR": f"{tmp_path}/run-1/job-1/checkout"}
    with subprocess.Popen(["sleep", "7007"], env=inside, start_new_session=True) as process:  # noqa: ASYNC220
        # a process that is just being started has no environment yet
        await until(lambda: members(sessions(tmp_path / "run-1")) == [process.pid])
        elsewhere = members(sessions(tmp_path / "run"))
        process.kill()
    assert elsewhere == []
