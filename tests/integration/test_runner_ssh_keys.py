"""A project with an SSH key on GitLab's runner: real git and real shells, with an ssh that is as strict as OpenSSH's.

It refuses a key that others may read, or whose last line has no end, and records how it was called.
"""

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from services.builds.ssh_access import COMMAND, ssh_variables
from tests.integration.agent_coordinator import coordinator
from tests.integration.test_agent import configured, serving
from tests.integration.test_agent import job as job_of_agent
from tests.integration.whole_stage import Body, Whole, whole_stage
from tests.support.gitlab_client import GitLabClient
from tests.support.leaks import Leaks
from tests.support.repositories import commit, git, sample_repository, spec_of

LINE = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ"
KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{LINE}\n-----END OPENSSH PRIVATE KEY-----"
SSH = r"""#!/bin/sh
printf '%s\n' "$*" >>"{log}"
key=
while :; do
  case $1 in
    -i) key=$2; shift 2 ;;
    -o | -p) shift 2 ;;
    *) break ;;
  esac
done
[ -n "$key" ] || { echo 'Permission denied (publickey).' >&2; exit 255; }
mode=$(stat -Lc %a "$key") || exit 255
[ "$mode" = 600 ] || { echo "UNPROTECTED PRIVATE KEY FILE: $mode" >&2; exit 255; }
cmp -s "$key" "{key}" || { echo 'error in libcrypto' >&2; exit 255; }
shift
exec sh -c "$*"
"""


@pytest.fixture(scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole_stage(tmp_path_factory.mktemp("whole"), long_poll_seconds=0.5) as whole:
        yield whole


@pytest.fixture
def ssh_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The arguments of every call of the strict ssh, which the planner and the runner find first."""
    programs, log = tmp_path / "programs", tmp_path / "ssh.log"
    programs.mkdir()
    (tmp_path / "key").write_text(f"{KEY}\n")
    program = programs / "ssh"
    program.write_text(SSH.replace("{log}", str(log)).replace("{key}", str(tmp_path / "key")))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return lambda: log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def client(tmp_path: Path) -> GitLabClient:
    return GitLabClient(tmp_path / "builds", {"GIT_CONFIG_NOSYSTEM": "1"})


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return sample_repository(tmp_path / "mill")


async def claimed(here: Whole, repository: Path, secrets: dict[str, str] | None = None, **more: str) -> Body:
    """The job of a build of a project whose repository asks for the key."""
    credential = {"name": f"key {repository}", "ssh_key": KEY}
    made = await here.post("/api/admin/credentials", {"credential": credential}, 201)
    project = await here.project(
        repository=f"ssh://git@forge.example:2222{repository}", repository_credential_id=made.json()["id"], **more
    )
    for name, value in (secrets or {}).items():
        secret = {"name": name, "value": value, "projects_id": [project["id"]]}
        await here.post("/api/admin/secrets", {"secret": secret}, 201)
    runner = await here.runner(f"/project/{project['owner_alias']}/{project['alias']}/runners")
    await here.launched(project)
    return await runner.job()


def variables(job: Body) -> dict[str, str]:
    return {one["key"]: one["value"] for one in job["variables"]}


async def test_the_commit_is_fetched_with_the_key(
    here: Whole, repository: Path, ssh_calls: Callable[[], list[str]], client: GitLabClient
) -> None:
    commit(repository, {"ci/build.sh": "git fetch origin main && echo fetched again\n"})
    job = await claimed(here, repository)
    leaks = Leaks([LINE])
    with leaks.in_command_lines() as command_lines:
        sources = client.get_sources(job)
        script = client.script(job)
    assert sources.returncode == 0, sources.stderr.decode()
    assert git(client.checkout, "rev-parse", "HEAD") == job["git_info"]["sha"]
    assert b"fetched again" in script.stdout, script.stderr.decode()
    assert command_lines
    assert leaks.found == []
    assert "-p 2222" in ssh_calls()[-1]
    assert "StrictHostKeyChecking=accept-new" in ssh_calls()[-1]
    kept = [one.name for one in (client.folder / "project.tmp").iterdir()]
    assert [one for one in kept if "SSH" in one] == ["HEADRACE_SSH_KEY"]  # GitLab's runner clears it away itself


@pytest.mark.parametrize("shell", ["dash", "bash"])
async def test_a_failure_of_ssh_is_a_failure_and_leaves_no_key(
    here: Whole, repository: Path, ssh_calls: Callable[[], list[str]], client: GitLabClient, shell: str
) -> None:
    job = await claimed(here, repository)
    path = client.folder / "key"
    command = (
        f"umask 022; printf '%s' wrong >{path}; HEADRACE_SSH_KEY={path} {shell} -c '{{}}' x git@forge true; echo $?"
    )
    quoted = (variables(job)["GIT_SSH_COMMAND"] + ' "$@"').replace("'", "'\\''")
    done = client.run(command.replace("{}", quoted))
    assert done.stdout.decode().split() == ["255"]
    assert "libcrypto" in done.stderr.decode()
    assert [one.name for one in client.folder.iterdir()] == ["key"]
    assert ssh_calls()[-1].endswith("git@forge true")


@pytest.mark.parametrize("place", ["secret", "spec file"])
async def test_a_command_of_the_project_takes_the_place_of_ours(
    here: Whole, repository: Path, ssh_calls: Callable[[], list[str]], place: str
) -> None:
    assert ssh_calls() == []
    commit(repository, {".gitlab-ci.yml": 'build: {script: x, variables: {GIT_SSH_COMMAND: "ssh -v"}}\n'})
    commit(repository, {"headrace.yaml": spec_of({"build": ""})})
    if place == "secret":
        job = await claimed(here, repository, {"GIT_SSH_COMMAND": "ssh -v"})
    else:
        job = await claimed(here, repository, spec_file_path="/.gitlab-ci.yml")
    assert variables(job)["GIT_SSH_COMMAND"] == "ssh -v"
    assert "GIT_SSH_VARIANT" not in variables(job)
    assert variables(job)["HEADRACE_SSH_KEY"] == f"{KEY}\n"


async def test_without_a_key_there_is_no_command(here: Whole) -> None:
    project = await here.project()
    runner = await here.runner(f"/project/{project['owner_alias']}/{project['alias']}/runners")
    await here.launched(project)
    assert not {"GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "HEADRACE_SSH_KEY"} & variables(await runner.job()).keys()


async def test_where_a_container_has_no_key_ssh_is_called_as_it_is(
    client: GitLabClient, ssh_calls: Callable[[], list[str]]
) -> None:
    client.folder.mkdir()
    done = client.run(f"{COMMAND} git@forge.example true; echo $?")
    assert (done.stdout.split(), ssh_calls()) == ([b"255"], ["git@forge.example true"])


async def test_scripts_fetch_with_the_key_on_our_agent_too(
    repository: Path, tmp_path: Path, ssh_calls: Callable[[], list[str]]
) -> None:
    job = job_of_agent(1, repository, "git fetch --quiet origin main && echo fetched again")
    job["git_info"] |= {
        "repo_url": f"ssh://git@forge.example{repository}",
        "refspecs": [f"+{job['git_info']['sha']}:refs/remotes/origin/main"],
    }
    job["variables"] = [one.model_dump() for one in ssh_variables(KEY, ())]
    async with coordinator() as server:
        server.waiting.put_nowait(job)
        async with serving(configured(server, tmp_path)):
            final = await server.final(1)
        assert (final["state"], "fetched again" in server.log(1)) == ("success", True), server.log(1)
    assert len(ssh_calls()) == 2
