"""Jobs of the shell executor that run as users of their own and attack the agent, its machine and concurrent jobs."""

import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent import config as configuration
from agent.config import Config, ConfigError, ProcessLimits
from agent.runner import check_isolation
from tests.integration.agent.agent_runs import (
    agent_config,
    create_repository,
    job_payload,
    job_variable,
    running_agent,
)
from tests.support.hostile_script import hostile_script, results
from tests.support.in_process.fake_gitlab import FakeGitLabServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="job users need an agent that runs as root, on Linux"
)
FIRST_UID = 100_000 + 4 * os.getpid()  # user ids without a name, different in each test process
VICTIM_SECRET = "secret-of-the-other-job"


@pytest.fixture
def machine() -> Iterator[Path]:
    """Yield a folder that all users can enter, unlike pytest's folders."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-job-users-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def public_repository(machine: Path) -> Path:
    return create_repository(machine / "repository")


@pytest.fixture
def separated(gitlab: FakeGitLabServer, machine: Path) -> Config:
    """Return the configuration of an agent with two job users. The file `agent.json` contains it too."""
    config = replace(
        agent_config(gitlab, machine, concurrency=2),
        job_users=(str(FIRST_UID), str(FIRST_UID + 1)),
        token="token-of-the-runner",
    )
    configuration.save(machine / "agent.json", config)
    check_isolation(machine / "agent.json", config)
    return config


def attacks(machine: Path) -> dict[str, str]:
    agent, builds = os.getpid(), machine / "builds"
    # the processes of the other job, whose files below /proc can be read by its own user
    others = f"$(find /proc -maxdepth 1 -name '[0-9]*' -uid {FIRST_UID + 1})"
    return {
        "the file with the token": f"cat {machine}/agent.json",
        "the list of jobs": f"ls {builds}/run-*",
        "folders of jobs": f"find {builds} -mindepth 2 | grep .",
        "folders that the other job names": f"cat $(cat {machine}/victim)/checkout/mine",
        "files that the other job names": f"cat $(cat {machine}/victim)/private/FILE",
        "the environment of the other job": f"for p in {others}; do cat $p/environ; done | grep .",
        "the working folder of the other job": f"for p in {others}; do ls $p/cwd/ && exit; done; false",
        "signals to the other job": f"for p in {others}; do kill -0 ${{p#/proc/}} && exit; done; false",
        "the environment of the agent": f"cat /proc/{agent}/environ",
        "the descriptors of the agent": f"ls /proc/{agent}/fd/",
        "the memory of the agent": f"head -c 1 /proc/{agent}/mem",
        "signals to the agent": f"kill -0 {agent}",
        "setuid programs": "! grep -q 'NoNewPrivs:.1' /proc/self/status",
        "capabilities": "grep -E 'Cap(Eff|Prm|Inh|Amb):.*[1-9a-f]' /proc/self/status",
        "groups of the agent": f"id -G | grep -v '^{FIRST_UID}$'",
        "a link instead of the checkout": "mv $CI_PROJECT_DIR $CI_PROJECT_DIR-2",
        "a link instead of a script": "rm -f $CI_PROJECT_DIR/../private/script-0",
        "the mirrors of other projects": f"ls {builds}/mirrors",
        "objects of its mirror": "for f in .git/objects/pack/*; do chmod u+w $f || echo x >> $f && exit; done; false",
        "processes without end": f"python3 {machine}/forks.py",
    }


async def test_a_job_with_its_own_user_reaches_neither_the_agent_nor_a_concurrent_job(
    gitlab: FakeGitLabServer, public_repository: Path, machine: Path, separated: Config
) -> None:
    victim = job_payload(
        1,
        public_repository,
        "echo $FIRST $SECRET > mine; cp mine $HOME; echo up",
        f"until [ -e {machine}/go ]; do sleep 0.05; done",
        variables=[
            job_variable("SECRET", VICTIM_SECRET, masked=True),
            job_variable("FILE", VICTIM_SECRET, masked=True, file=True),
        ],
    )
    (machine / "forks.py").write_text("import os, time\nfor _ in range(99):\n    os.fork() or time.sleep(60)\n")
    tried = attacks(machine)
    attacker = job_payload(
        2,
        public_repository,
        *hostile_script(tried),
        f"mkdir out; ln -s {machine}/agent.json out/link; ln {machine}/agent.json out/hard || true",
        "echo done | tee /dev/stderr > own",
        job_info={"name": "attacker", "project_id": 5},
        artifacts=[{"paths": ["out", "own"], "untracked": True, "when": "always"}],
        cache=[{"key": "mine", "paths": ["out"]}],
    )
    gitlab.pending_jobs.put_nowait(victim)
    async with running_agent(replace(separated, limits=ProcessLimits(processes=40))):
        await gitlab.wait_until(lambda: "up" in gitlab.log_text(1))
        [checkout] = (machine / "builds").glob("run-*/job-1-*")
        (machine / "victim").write_text(str(checkout))
        gitlab.pending_jobs.put_nowait(attacker)
        await gitlab.wait_for_final_state(2)
        (machine / "go").touch()
        assert (await gitlab.wait_for_final_state(1))["state"] == "success"
    log = gitlab.log_text(2)
    assert results(log) == dict.fromkeys(tried, "stopped"), log
    with zipfile.ZipFile(io.BytesIO(gitlab.artifacts[2])) as archive:
        names, contents = set(archive.namelist()), b"".join(map(archive.read, archive.namelist()))
    assert {"out/", "own"} <= names
    assert [text for text in (VICTIM_SECRET, "token-of-the-runner") if text in log or text.encode() in contents] == []


async def test_processes_and_files_of_a_job_user_are_gone_before_its_next_job(
    gitlab: FakeGitLabServer, public_repository: Path, separated: Config
) -> None:
    script = (
        "trap '' TERM; env -i setsid sh -c 'trap \"\" TERM; sleep 7022; sleep 7022' &",
        f"kill -9 $PPID $(pgrep -f -u {FIRST_UID} supervis[o]r) || true; echo loot > /tmp/loot-{FIRST_UID}",
        f"mkdir /dev/shm/loot-{FIRST_UID}; touch /dev/shm/loot-{FIRST_UID}/file",
    )
    gitlab.pending_jobs.put_nowait(job_payload(1, public_repository, *script))
    later = f"ls -d /tmp/loot-{FIRST_UID} /dev/shm/loot-{FIRST_UID} || echo nothing; ps -U {FIRST_UID} -o args="
    async with running_agent(replace(separated, concurrency=1, job_users=separated.job_users[:1])):
        await gitlab.wait_for_final_state(1)
        gitlab.pending_jobs.put_nowait(job_payload(2, public_repository, later))
        assert (await gitlab.wait_for_final_state(2))["state"] == "success"
    assert "nothing" in gitlab.log_text(2)
    assert "sleep" not in gitlab.log_text(2)


async def test_artifacts_and_caches_of_a_job_user_are_restored_for_the_next_job(
    gitlab: FakeGitLabServer, public_repository: Path, separated: Config
) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("out/of-dependency", "artifact")
    gitlab.artifacts[10] = content.getvalue()
    cache = [{"key": "deps", "paths": ["kept"]}]
    needed = {
        "id": 10,
        "name": "prepare",
        "token": "token-of-dependency",
        "artifacts_file": {"filename": "out.zip", "size": 1},
    }
    variables = [job_variable("FILE", "content", file=True)]
    first = job_payload(
        1,
        public_repository,
        "cat out/* $FILE; echo more >> out/of-dependency; mkdir kept; echo cached > kept/x; id -un || id -u; git log",
        dependencies=[needed],
        variables=variables,
        cache=cache,
        artifacts=[{"paths": ["out"]}],
    )
    second = job_payload(2, public_repository, "cat kept/x; echo more >> kept/x", cache=cache)
    async with running_agent(separated):
        for job in (first, second):
            gitlab.pending_jobs.put_nowait(job)
            assert (await gitlab.wait_for_final_state(job["id"]))["state"] == "success", gitlab.log_text(job["id"])
    assert "artifactcontent" in gitlab.log_text(1)
    assert "cached" in gitlab.log_text(2)
    assert gitlab.artifact_uploads


async def test_processes_of_a_job_user_are_killed_when_the_agent_is_killed(machine: Path) -> None:
    program = (
        "import os, sys, time; from pathlib import Path\n"
        "from agent.processes.process_spawner import ProcessSpawner\n"
        "spawner = ProcessSpawner(Path(sys.argv[1]))\n"
        "spawner.start(['sh', '-c', 'setsid env -i sleep 7023 & sleep 7023'], Path('/'), {'PATH': '/bin:/usr/bin'},"
        " *reversed(os.pipe()), (int(sys.argv[2]),) * 2)\n"
        "time.sleep(60)"
    )
    uid = FIRST_UID + 2
    (machine / "run-1").mkdir()
    arguments = [sys.executable, "-c", program, str(machine / "run-1"), str(uid)]

    def processes() -> int:
        return len(subprocess.run(["pgrep", "-U", str(uid)], capture_output=True, check=False).stdout.split())

    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as agent:  # noqa: ASYNC220
        await eventually(lambda: processes() >= 3)
        agent.kill()
        await eventually(lambda: processes() == 0)


@pytest.mark.parametrize(
    "problem", ["readable file", "closed folder", "open folder", "root", "same user", "unknown user"]
)
def test_an_agent_with_job_users_that_would_not_be_separated_does_not_start(
    machine: Path, separated: Config, problem: str
) -> None:
    changed, expected = separated, "is root"
    if problem == "readable file":
        (machine / "agent.json").chmod(0o644)
        expected = "can read"
    elif problem == "closed folder":
        machine.chmod(0o700)
        expected = "cannot enter"
    elif problem == "open folder":
        (machine / "builds").chmod(0o777)
        expected = "can write to"
    elif problem == "root":
        changed = replace(separated, job_users=("0", "1"))
    elif problem == "same user":
        changed, expected = replace(separated, job_users=("7", "7:8")), "the same user"
    else:
        changed, expected = replace(separated, job_users=("no-such-user", "7")), "has no user"
    with pytest.raises(ConfigError, match=expected):
        check_isolation(machine / "agent.json", changed)
