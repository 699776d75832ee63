"""Control groups (cgroup v2) of jobs, on a real hierarchy where this machine has one that the tests can change."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.config import ConfigError, JobLimits
from agent.processes.control_groups import ControlGroups, JobGroup, find_own_group, open_control_groups
from agent.processes.job_spawner import JobSpawner
from agent.processes.process_spawner import ProcessSpawner
from agent.processes.program import run_program
from agent.runner import check_isolation
from tests.integration.agent.agent_runs import agent_config, job_payload, running_agent
from tests.support.in_process.fake_gitlab import FakeGitLabServer

MOUNTS = "30 1 0:26 / /sys/fs/cgroup/unified rw,relatime shared:10 - cgroup2 cgroup2 rw\n"


@pytest.fixture
def own_group() -> Path:
    try:
        return find_own_group(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())
    except OSError as error:
        pytest.skip(str(error))


@pytest.fixture
def group(own_group: Path) -> Iterator[JobGroup]:
    group = JobGroup(own_group / f"headrace-test-{os.getpid()}")
    try:
        group.folder.mkdir()
    except OSError as error:
        pytest.skip(f"the tests cannot create a cgroup: {error}")
    yield group
    group.remove()
    assert not group.folder.exists()


async def test_all_processes_of_a_job_are_in_its_group_and_killed_with_it(group: JobGroup, tmp_path: Path) -> None:
    output: list[bytes] = []
    script = "setsid env -i sleep 7031 & cat /proc/self/cgroup"
    with ProcessSpawner(tmp_path / "run") as spawner:
        status = await run_program(
            JobSpawner(spawner, None, group),
            ["sh", "-c", script],
            cwd=tmp_path,
            environment={"PATH": os.environ["PATH"]},
            output=output.append,
        )
    assert status == 0
    assert group.folder.name in b"".join(output).decode()
    assert (group.folder / "cgroup.procs").read_text() == ""
    assert subprocess.run(["pgrep", "-f", "sleep 703[1]"], check=False).returncode == 1  # noqa: ASYNC221


@pytest.mark.parametrize(
    ("limits", "attempt"),
    [
        (JobLimits(memory_megabytes=64), "python3 -c 'x = b\"x\" * 2**28'"),
        (JobLimits(processes=30), "for n in $(seq 60); do sleep 7032 & done"),
    ],
    ids=["memory", "processes"],
)
async def test_a_job_that_exceeds_its_limits_fails_and_the_agent_runs_the_next_job(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path, limits: JobLimits, attempt: str
) -> None:
    config = replace(agent_config(gitlab, tmp_path), job_limits=limits)
    try:
        check_isolation(tmp_path / "agent.json", config)
    except ConfigError as error:
        pytest.skip(str(error))
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, attempt))
    gitlab.pending_jobs.put_nowait(job_payload(2, repository, "echo next"))
    async with running_agent(config):
        assert (await gitlab.wait_for_final_state(1))["state"] == "failed"
        assert (await gitlab.wait_for_final_state(2))["state"] == "success"


def test_a_job_group_gets_the_configured_limits(tmp_path: Path) -> None:
    for name, content in (("cgroup.controllers", "cpu memory pids"), ("cgroup.subtree_control", "")):
        (tmp_path / name).write_text(content)
    limits = JobLimits(memory_megabytes=512, processes=100, cpus=1.5)
    group = ControlGroups(tmp_path, limits.by_file).create("7")
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    written = {path.name: path.read_text() for path in group.folder.iterdir()}
    assert written == {
        "memory.max": "536870912",
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "100",
        "cpu.max": "150000 100000",
    }


def test_limits_without_a_usable_cgroup_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu")
    with pytest.raises(OSError, match="the controllers memory, pids are not available"):
        ControlGroups(tmp_path, JobLimits(memory_megabytes=1, processes=1).by_file)
    with pytest.raises(OSError, match="no cgroup v2"):
        find_own_group("", "0::/\n")
    assert open_control_groups({}) is None


@pytest.mark.parametrize(
    ("mounts", "membership", "expected"),
    [
        (MOUNTS, "9:name=systemd:/\n0::/\n", "/sys/fs/cgroup/unified"),
        (MOUNTS, "0::/system.slice/agent.service\n", "/sys/fs/cgroup/unified/system.slice/agent.service"),
        (MOUNTS, "0::/a/headrace-agent\n", "/sys/fs/cgroup/unified/a"),
        (MOUNTS.replace("0:26 /", "0:26 /a"), "0::/a/b\n", "/sys/fs/cgroup/unified/b"),
    ],
)
def test_the_agents_own_group_is_found(mounts: str, membership: str, expected: str) -> None:
    assert find_own_group(mounts, membership) == Path(expected)
