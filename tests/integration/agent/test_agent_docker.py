"""The Docker executor of the agent on a real Docker engine. Skipped without an engine or without the image."""

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
from agent.config import Config, DockerSettings
from agent.executors.docker_client import DockerClient, DockerError, socket_path
from agent.executors.docker_containers import AGENT_LABEL, JOB_LABEL
from agent.executors.docker_images import split_image
from tests.integration.agent.agent_runs import (
    agent_config,
    job_payload,
    job_variable,
    running_agent,
)
from tests.support.hostile_script import hostile_script, results
from tests.support.in_process.fake_gitlab import FakeGitLabServer, read_command_lines, running_fake_gitlab
from tests.support.waiting import eventually

IMAGE = os.environ.get("HEADRACE_TEST_IMAGE", "debian:bookworm-slim")  # must contain bash
AGENT_LABEL = f"{AGENT_LABEL}=s_1"


@pytest.fixture
async def engine() -> AsyncIterator[DockerClient]:
    engine = DockerClient(socket_path())
    try:
        if not await engine.ping():
            pytest.skip(f"Docker is not available at {socket_path()}")
        try:
            if not await engine.has_image(IMAGE):
                await engine.pull(*split_image(IMAGE), None)
        except DockerError as error:
            pytest.skip(str(error))
        yield engine
        assert (await engine.list_containers(AGENT_LABEL), await engine.list_networks(AGENT_LABEL)) == ([], [])
    finally:
        await engine.aclose()


@pytest.fixture
async def gitlab(engine: DockerClient) -> AsyncIterator[FakeGitLabServer]:
    async with running_fake_gitlab() as server:
        yield server


def docker_config(server: FakeGitLabServer, tmp_path: Path, **docker: Any) -> Config:
    return replace(agent_config(server, tmp_path), executor="docker", docker=DockerSettings(**docker))


def container_job(number: int, repository: Path, *script: str, **fields: Any) -> dict[str, Any]:
    return job_payload(number, repository, *script, image={"name": IMAGE}, **fields)


async def test_a_docker_job_runs_in_its_image_on_the_checkout_and_leaves_no_files(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    script = (
        "cat greeting",
        "pwd; echo $CI_PROJECT_DIR",
        "test -e /.dockerenv && touch made && ls",
        "bash -c 'exit 42'",
    )
    gitlab.pending_jobs.put_nowait(container_job(1, repository, *script))
    async with running_agent(docker_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    lines = gitlab.log_text(1).splitlines()
    assert lines[3] == "good morning"
    assert lines[4] == lines[5]
    assert lines[6:8] == ["greeting", "made"]
    assert (final["failure_reason"], final["exit_code"]) == ("script_failure", 42)
    assert list((tmp_path / "builds").iterdir()) == []


async def test_a_secret_is_in_the_job_but_not_in_logs_command_lines_or_container_metadata(
    gitlab: FakeGitLabServer, engine: DockerClient, repository: Path, tmp_path: Path
) -> None:
    go_file = tmp_path / "builds" / "go"
    secret = job_variable("SECRET", "s3cret-w0rd", masked=True)
    script = ("echo up $SECRET", "cat $LETTER", f"until [ -e {go_file} ]; do sleep 0.05; done")
    variables = [
        secret,
        job_variable("LETTER", "dear Ada\n", file=True),
        job_variable("HEADRACE_SSH_KEY", "key", file=True),
    ]
    gitlab.pending_jobs.put_nowait(container_job(1, repository, *script, "env; mount", variables=variables))
    shared = f"{tmp_path}/builds:{tmp_path}/builds:ro"
    async with running_agent(docker_config(gitlab, tmp_path, volumes=[shared])):
        await gitlab.wait_until(lambda: "up [MASKED]" in gitlab.log_text(1))
        seen = [
            json.dumps(await engine.inspect(container["Id"]))
            for container in await engine.list_containers(f"{JOB_LABEL}=1")
        ]
        seen += read_command_lines().values()
        go_file.touch()
        final = await gitlab.wait_for_final_state(1)
    assert final["state"] == "success"
    assert [line for line in seen if "s3cret-w0rd" in line] == []
    assert "dear Ada" in gitlab.log_text(1)
    assert [text for text in ("s3cret", "SSH_KEY", "docker.sock") if text in gitlab.log_text(1)] == []


async def test_a_container_reaches_neither_the_agent_nor_other_jobs_nor_services_of_the_machine(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    config = docker_config(gitlab, tmp_path, pids=40, memory="64m")
    configuration.save(tmp_path / "agent.json", config)
    port = gitlab.url.rpartition(":")[2]
    attacks = {
        "the file with the token": f"cat {tmp_path}/agent.json",
        "folders of jobs": f"ls {tmp_path}/builds | grep -v run-",
        "other files of the agent": f"ls {tmp_path}/builds/run-*/*/transfers",
        "the environment of the agent": f"cat /proc/{os.getpid()}/environ | grep -a HOME",
        "processes of the machine": "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -E 'bin/(pytes[t]|pytho[n])'",
        "the engine": "ls /var/run/docker.sock",
        "devices of the machine": "ls /dev/sda /dev/vda",
        "a new mount": "mkdir -p /tmp/m && mount -t tmpfs none /tmp/m",
        "a script of the agent": "touch $CI_PROJECT_DIR/../private/script-0",
        "services of the machine": f"bash -c '</dev/tcp/127.0.0.1/{port}'",
        "setuid programs": "! grep -q 'NoNewPrivs:.1' /proc/self/status",
        "memory without end": "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x} | grep 200000000",
        "processes without end": "sh -c 'n=0; while [ $n -lt 99 ]; do sleep 60 & n=$((n+1)); done'",
    }
    gitlab.pending_jobs.put_nowait(container_job(1, repository, *hostile_script(attacks)))
    async with running_agent(config):
        await gitlab.wait_for_final_state(1)
    assert results(gitlab.log_text(1)) == dict.fromkeys(attacks, "stopped"), gitlab.log_text(1)
    assert config.token not in gitlab.log_text(1)


async def test_a_job_container_has_resource_limits_and_no_capabilities(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    script = (
        "ulimit -c; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || true",
        "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null || true",
        "grep -E 'CapEff|NoNewPrivs' /proc/self/status; id -u",
    )
    gitlab.pending_jobs.put_nowait(container_job(1, repository, *script))
    async with running_agent(docker_config(gitlab, tmp_path, memory="64m", pids=77, cpus=0.5, user="1234:1234")):
        await gitlab.wait_for_final_state(1)
    assert {"67108864", "77", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "1234"} <= set(
        gitlab.log_text(1).splitlines()
    )


async def test_a_cache_saved_in_a_container_is_restored_for_another_container_user(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    script = ("cat deps/file 2>/dev/null || echo nothing there", "mkdir -p deps; id -u > deps/file")
    cache = [{"key": "deps", "paths": ["deps/"], "policy": "pull-push"}]
    about = {"name": "a job", "project_id": 1}
    for number, user in ((1, "1234:1234"), (2, "4321:4321"), (3, "")):
        gitlab.pending_jobs.put_nowait(container_job(number, repository, *script, cache=cache, job_info=about))
        async with running_agent(docker_config(gitlab, tmp_path, user=user)):
            assert (await gitlab.wait_for_final_state(number))["state"] == "success"
    found = [gitlab.log_text(number).split("Restored cache deps\n")[-1].splitlines() for number in (1, 2, 3)]
    assert "nothing there" in found[0]
    assert [lines[0] for lines in found[1:]] == ["1234", "4321"]


async def test_a_service_container_is_reachable_by_alias_and_gets_no_masked_variables(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    print_environment = ["bash", "-c", "env; exit 3"]
    wait_forever = ["bash", "-c", "sleep 600"]
    services = [
        {"name": IMAGE, "alias": "store, other", "command": wait_forever},
        {"name": IMAGE, "command": print_environment, "variables": [{"key": "OWN", "value": "of $PLAIN"}]},
    ]
    variables = [job_variable("SECRET", "s3cret-w0rd", masked=True), job_variable("PLAIN", "visible")]
    script = ("getent hosts store other build | wc -l",)
    gitlab.pending_jobs.put_nowait(container_job(1, repository, *script, services=services, variables=variables))
    async with running_agent(docker_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert (final["state"], gitlab.log_text(1).splitlines()[-2]) == ("success", "3")
    assert "OWN=of visible" in gitlab.log_text(1)
    assert "PLAIN=visible" in gitlab.log_text(1)
    assert "SECRET" not in gitlab.log_text(1)


async def test_a_timeout_stops_all_container_processes_and_runs_after_script_in_the_same_container(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    steps = [
        {"name": "script", "script": ["echo mark > /mark; trap '' TERM; sleep 7101 & sleep 7101"], "timeout": 2},
        {"name": "after_script", "script": ["cat /mark; echo cleaned $CI_JOB_STATUS"], "when": "always"},
    ]
    gitlab.pending_jobs.put_nowait(container_job(1, repository, steps=steps))
    async with running_agent(docker_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert final["failure_reason"] == "job_execution_timeout"
    assert "mark\ncleaned failed\n" in gitlab.log_text(1)
    assert [line for line in read_command_lines().values() if "7101" in line] == []


async def test_a_graceful_cancel_sends_sigterm_to_the_container_script_and_runs_after_script(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    steps = [
        {"name": "script", "script": ["trap 'echo heard; exit 1' TERM; echo up; sleep 7102 & wait"]},
        {"name": "after_script", "script": ["echo cleaned $CI_JOB_STATUS"], "when": "always"},
    ]
    gitlab.pending_jobs.put_nowait(container_job(1, repository, steps=steps))
    async with running_agent(docker_config(gitlab, tmp_path)):
        await gitlab.wait_until(lambda: "up" in gitlab.log_text(1))
        gitlab.job_status = "canceling"
        await gitlab.wait_for_final_state(1)
    assert "heard\ncleaned canceled\n" in gitlab.log_text(1)


async def test_a_background_process_in_the_container_does_not_block_the_job(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.pending_jobs.put_nowait(container_job(1, repository, "sleep 7103 & echo done"))
    async with running_agent(docker_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert final["state"] == "success"
    assert "done\nJob succeeded\n" in gitlab.log_text(1)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ({"name": "headrace/none:1", "pull_policy": "never"}, "the pull policy is never"),
        ({"name": "127.0.0.1:9/none:1"}, "could not be pulled"),
        ({"name": IMAGE, "pull_policy": ["sometimes"]}, "unknown pull policy"),
        ({"name": IMAGE, "entrypoint": ["true"]}, "exited at once"),
        (None, "has no image"),
    ],
)
async def test_an_unusable_image_fails_the_job_and_the_log_says_why(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path, image: Any, words: str
) -> None:
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "echo never", image=image))
    async with running_agent(docker_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert (final["state"], final["failure_reason"]) == ("failed", "runner_system_failure")
    assert words in gitlab.log_text(1)


async def test_containers_of_a_killed_agent_are_removed_at_the_next_start(
    gitlab: FakeGitLabServer, engine: DockerClient, repository: Path, tmp_path: Path
) -> None:
    path = tmp_path / "agent.json"
    configuration.save(path, docker_config(gitlab, tmp_path))
    command = [sys.executable, "-c", "from agent.cli import app; app()", "run", "--config", str(path)]
    gitlab.pending_jobs.put_nowait(container_job(1, repository, "echo up; sleep 7104"))
    agent = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: ASYNC220
    try:
        await gitlab.wait_until(lambda: "up" in gitlab.log_text(1))
    finally:
        agent.kill()
        agent.wait()
    assert len(await engine.list_containers(AGENT_LABEL)) == 1
    gitlab.pending_jobs.put_nowait(container_job(2, repository, "cat greeting"))
    successor = await asyncio.create_subprocess_exec(*command, "--once", stderr=asyncio.subprocess.DEVNULL)
    assert await successor.wait() == 0
    assert gitlab.state_reports[2][-1]["state"] == "success"
    await eventually(lambda: not [line for line in read_command_lines().values() if "7104" in line])
