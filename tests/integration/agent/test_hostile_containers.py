"""Jobs in Docker containers that attack the agent, other jobs and the network. Skipped without a Docker engine."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.executors.docker_client import DockerClient
from agent.executors.docker_containers import JOB_LABEL
from tests.integration.agent.agent_runs import running_agent
from tests.integration.agent.test_agent_docker import container_job, docker_config, engine, gitlab
from tests.support.hostile_script import FILES, connect, hostile_script, results, start_processes, take_memory
from tests.support.in_process.fake_gitlab import FakeGitLabServer

__all__ = ["engine", "gitlab"]  # imported fixtures

SANDBOX_IMAGE = os.environ.get("HEADRACE_SANDBOX_IMAGE", "headrace:latest")
PIDS = 128


@pytest.fixture
async def sandbox_image(engine: DockerClient) -> str:
    if not await engine.has_image(SANDBOX_IMAGE):
        pytest.skip(f"{SANDBOX_IMAGE} is not on this machine: docker build -t {SANDBOX_IMAGE} .")
    return SANDBOX_IMAGE


@pytest.fixture
async def machine_address() -> AsyncIterator[str]:
    """Run a server on all addresses of this machine.

    Yield a private address with its port, or skip the test without one.
    """
    server = await asyncio.start_server(lambda _, writer: writer.close(), "0.0.0.0", 0)  # noqa: S104
    async with server:
        addresses = subprocess.check_output(["hostname", "-I"], text=True).split()  # noqa: ASYNC221
        private = [address for address in addresses if address.startswith(("10.", "172.", "192.168."))]
        if not private:
            pytest.skip("this machine has no private address")
        yield f"{private[0]}:{server.sockets[0].getsockname()[1]}"


async def run_attacks(server: FakeGitLabServer, repository: Path, attacks: dict[str, str], config: Any) -> list[str]:
    """Return the names of the attacks that succeeded."""
    server.pending_jobs.put_nowait(container_job(1, repository, *hostile_script(attacks)))
    async with running_agent(config):
        await server.wait_for_final_state(1)
    found = results(server.log_text(1))
    assert found.keys() == attacks.keys(), server.log_text(1)
    return [name for name, result in found.items() if result == "succeeded"]


async def test_a_container_reaches_no_files_processes_or_resources_of_others(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    attacks = FILES | {
        "take memory without end": take_memory(256),
        "start processes without end": start_processes(2 * PIDS),
    }
    config = docker_config(gitlab, tmp_path, memory="128m", pids=PIDS)
    assert await run_attacks(gitlab, repository, attacks, config) == []


async def test_a_sandboxed_container_reaches_no_private_network_but_those_allowed(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path, sandbox_image: str, machine_address: str
) -> None:
    attacks = {
        "reach this machine": connect(machine_address),
        "reach the gateway of the network": 'read -r _ _ hex _ < <(grep -P "\\t00000000\\t" /proc/net/route); '
        "g=$((16#${hex:6:2})).$((16#${hex:4:2})).$((16#${hex:2:2})).$((16#${hex:0:2})); "
        f'timeout 3 bash -c ": > /dev/tcp/$g/{machine_address.split(":")[1]}"',
        "reach the metadata of a cloud": connect("169.254.169.254:80"),
    }
    config = docker_config(gitlab, tmp_path, sandbox_image=sandbox_image)
    assert await run_attacks(gitlab, repository, attacks, config) == []
    gitlab.pending_jobs.put_nowait(container_job(2, repository, *hostile_script({"allowed": connect(machine_address)})))
    allowed = docker_config(
        gitlab, tmp_path, sandbox_image=sandbox_image, allowed_networks=(machine_address.split(":")[0],)
    )
    async with running_agent(allowed):
        await gitlab.wait_for_final_state(2)
    assert results(gitlab.log_text(2)) == {"allowed": "succeeded"}


async def test_a_service_is_reached_and_found_ready_through_its_sandbox(
    gitlab: FakeGitLabServer, engine: DockerClient, repository: Path, tmp_path: Path, sandbox_image: str
) -> None:
    services = [{"name": "nats:2.15-alpine", "alias": "bus"}]
    if not await engine.has_image(services[0]["name"]):
        pytest.skip(f"{services[0]['name']} is not on this machine")
    script = hostile_script({"reach the service": connect("bus:4222"), "reach the build": connect("build:1")})
    gitlab.pending_jobs.put_nowait(container_job(1, repository, *script, services=services))
    async with running_agent(docker_config(gitlab, tmp_path, sandbox_image=sandbox_image)):
        await gitlab.wait_for_final_state(1)
    assert results(gitlab.log_text(1)) == {"reach the service": "succeeded", "reach the build": "stopped"}
    assert "WARNING" not in gitlab.log_text(1)
    assert await engine.list_containers(f"{JOB_LABEL}=1") == []
