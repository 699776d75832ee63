"""The agent's containers on a real Docker engine; skipped where none answers or the image cannot be had."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import config as configuration
from agent.config import Config, Docker
from agent.container import AGENT, JOB
from agent.engine import Engine, EngineError, socket_path
from agent.images import split_image
from tests.integration.agent_coordinator import Coordinator, command_lines, coordinator
from tests.integration.test_agent import configured, job, repository, serving, until, variable

__all__ = ["repository"]

IMAGE = os.environ.get("HEADRACE_TEST_IMAGE", "debian:bookworm-slim")  # with bash
MINE = f"{AGENT}=s_1"


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = Engine(socket_path())
    try:
        if not await engine.answers():
            pytest.skip(f"no Docker engine answers at {socket_path()}")
        try:
            if not await engine.has_image(IMAGE):
                await engine.pull(*split_image(IMAGE), None)
        except EngineError as error:
            pytest.skip(str(error))
        yield engine
        assert (await engine.containers(MINE), await engine.networks(MINE)) == ([], [])
    finally:
        await engine.close()


@pytest.fixture
async def server(engine: Engine) -> AsyncIterator[Coordinator]:
    async with coordinator() as server:
        yield server


def docked(server: Coordinator, tmp_path: Path, **docker: Any) -> Config:
    return replace(configured(server, tmp_path), executor="docker", docker=Docker(**docker))


def contained(number: int, repository: Path, *script: str, **fields: Any) -> dict[str, Any]:
    return job(number, repository, *script, image={"name": IMAGE}, **fields)


async def test_a_job_runs_in_its_image_on_the_checkout_and_leaves_nothing(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    script = (
        "cat greeting",
        "pwd; echo $CI_PROJECT_DIR",
        "test -e /.dockerenv && touch made && ls",
        "bash -c 'exit 42'",
    )
    server.waiting.put_nowait(contained(1, repository, *script))
    async with serving(docked(server, tmp_path)):
        final = await server.final(1)
    lines = server.log(1).splitlines()
    assert lines[3] == "good morning"
    assert lines[4] == lines[5]
    assert lines[6:8] == ["greeting", "made"]
    assert (final["failure_reason"], final["exit_code"]) == ("script_failure", 42)
    assert list((tmp_path / "builds").iterdir()) == []


async def test_a_secret_reaches_the_steps_and_neither_the_log_nor_a_command_line_nor_a_description(
    server: Coordinator, engine: Engine, repository: Path, tmp_path: Path
) -> None:
    go = tmp_path / "builds" / "go"
    secret = variable("SECRET", "s3cret-w0rd", masked=True)
    script = ("echo up $SECRET", "cat $LETTER", f"until [ -e {go} ]; do sleep 0.05; done")
    variables = [secret, variable("LETTER", "dear Ada\n", file=True), variable("HEADRACE_SSH_KEY", "key", file=True)]
    server.waiting.put_nowait(contained(1, repository, *script, "env; mount", variables=variables))
    shared = f"{tmp_path}/builds:{tmp_path}/builds:ro"
    async with serving(docked(server, tmp_path, volumes=[shared])):
        await server.until(lambda: "up [MASKED]" in server.log(1))
        seen = [json.dumps(await engine.inspect(each["Id"])) for each in await engine.containers(f"{JOB}=1")]
        seen += command_lines().values()
        go.touch()
        final = await server.final(1)
    assert final["state"] == "success"
    assert [line for line in seen if "s3cret-w0rd" in line] == []
    assert "dear Ada" in server.log(1)
    assert [word for word in ("s3cret", "SSH_KEY", "docker.sock") if word in server.log(1)] == []


async def test_a_container_has_limits_and_few_rights(server: Coordinator, repository: Path, tmp_path: Path) -> None:
    script = (
        "ulimit -c; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || true",
        "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null || true",
        "grep -E 'CapEff|NoNewPrivs' /proc/self/status; id -u",
    )
    server.waiting.put_nowait(contained(1, repository, *script))
    async with serving(docked(server, tmp_path, memory="64m", pids=77, cpus=0.5, user="1234:1234")):
        await server.final(1)
    assert {"67108864", "77", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "1234"} <= set(server.log(1).splitlines())


async def test_what_a_container_keeps_the_next_one_has_whoever_its_user_is(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    script = ("cat deps/file 2>/dev/null || echo nothing there", "mkdir -p deps; id -u > deps/file")
    cache = [{"key": "deps", "paths": ["deps/"], "policy": "pull-push"}]
    about = {"name": "a job", "project_id": 1}
    for number, user in ((1, "1234:1234"), (2, "4321:4321"), (3, "")):
        server.waiting.put_nowait(contained(number, repository, *script, cache=cache, job_info=about))
        async with serving(docked(server, tmp_path, user=user)):
            assert (await server.final(number))["state"] == "success"
    found = [server.log(number).split("Restored cache deps\n")[-1].splitlines() for number in (1, 2, 3)]
    assert "nothing there" in found[0]
    assert [lines[0] for lines in found[1:]] == ["1234", "4321"]


async def test_a_service_is_found_by_its_alias_and_sees_no_secret(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    shout = ["bash", "-c", "env; exit 3"]
    listen = ["bash", "-c", "sleep 600"]
    services = [
        {"name": IMAGE, "alias": "store, other", "command": listen},
        {"name": IMAGE, "command": shout, "variables": [{"key": "OWN", "value": "of $PLAIN"}]},
    ]
    variables = [variable("SECRET", "s3cret-w0rd", masked=True), variable("PLAIN", "visible")]
    script = ("getent hosts store other build | wc -l",)
    server.waiting.put_nowait(contained(1, repository, *script, services=services, variables=variables))
    async with serving(docked(server, tmp_path)):
        final = await server.final(1)
    assert (final["state"], server.log(1).splitlines()[-2]) == ("success", "3")
    assert "OWN=of visible" in server.log(1)
    assert "PLAIN=visible" in server.log(1)
    assert "SECRET" not in server.log(1)


async def test_a_time_out_ends_all_and_the_clean_up_runs_in_the_same_container(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    steps = [
        {"name": "script", "script": ["echo mark > /mark; trap '' TERM; sleep 7101 & sleep 7101"], "timeout": 2},
        {"name": "after_script", "script": ["cat /mark; echo cleaned $CI_JOB_STATUS"], "when": "always"},
    ]
    server.waiting.put_nowait(contained(1, repository, steps=steps))
    async with serving(docked(server, tmp_path)):
        final = await server.final(1)
    assert final["failure_reason"] == "job_execution_timeout"
    assert "mark\ncleaned failed\n" in server.log(1)
    assert [line for line in command_lines().values() if "7101" in line] == []


async def test_a_graceful_cancel_is_heard_by_the_script_and_cleaned_up_after(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    steps = [
        {"name": "script", "script": ["trap 'echo heard; exit 1' TERM; echo up; sleep 7102 & wait"]},
        {"name": "after_script", "script": ["echo cleaned $CI_JOB_STATUS"], "when": "always"},
    ]
    server.waiting.put_nowait(contained(1, repository, steps=steps))
    async with serving(docked(server, tmp_path)):
        await server.until(lambda: "up" in server.log(1))
        server.job_status = "canceling"
        await server.final(1)
    assert "heard\ncleaned canceled\n" in server.log(1)


async def test_a_child_that_holds_the_output_open_does_not_hang_the_job(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    server.waiting.put_nowait(contained(1, repository, "sleep 7103 & echo done"))
    async with serving(docked(server, tmp_path)):
        final = await server.final(1)
    assert final["state"] == "success"
    assert "done\nJob succeeded\n" in server.log(1)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ({"name": "headrace/none:1", "pull_policy": "never"}, "must not be pulled"),
        ({"name": "127.0.0.1:9/none:1"}, "could not be pulled"),
        ({"name": IMAGE, "pull_policy": ["sometimes"]}, "is no pull policy"),
        ({"name": IMAGE, "entrypoint": ["true"]}, "ended at once"),
        (None, "names no image"),
    ],
)
async def test_an_image_that_cannot_be_used_is_a_finished_job_in_clear_words(
    server: Coordinator, repository: Path, tmp_path: Path, image: Any, words: str
) -> None:
    server.waiting.put_nowait(job(1, repository, "echo never", image=image))
    async with serving(docked(server, tmp_path)):
        final = await server.final(1)
    assert (final["state"], final["failure_reason"]) == ("failed", "runner_system_failure")
    assert words in server.log(1)


async def test_what_a_killed_agent_left_behind_goes_with_the_next_start(
    server: Coordinator, engine: Engine, repository: Path, tmp_path: Path
) -> None:
    path = tmp_path / "agent.json"
    configuration.save(path, docked(server, tmp_path))
    command = [sys.executable, "-c", "from agent.command import app; app()", "run", "--config", str(path)]
    server.waiting.put_nowait(contained(1, repository, "echo up; sleep 7104"))
    agent = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: ASYNC220
    try:
        await server.until(lambda: "up" in server.log(1))
    finally:
        agent.kill()
        agent.wait()
    assert len(await engine.containers(MINE)) == 1
    server.waiting.put_nowait(contained(2, repository, "cat greeting"))
    successor = await asyncio.create_subprocess_exec(*command, "--once", stderr=asyncio.subprocess.DEVNULL)
    assert await successor.wait() == 0
    assert server.states[2][-1]["state"] == "success"
    await until(lambda: not [line for line in command_lines().values() if "7104" in line])
