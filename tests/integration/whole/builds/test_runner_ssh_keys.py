"""Jobs of a project with an SSH key, run like GitLab Runner with real git and real shells.

The fake ssh rejects a key file that other users can read or that lacks the final newline, as OpenSSH does. It logs its
arguments.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from services.builds.dispatch.ssh_access import COMMAND, ssh_variables
from tests.integration.agent.agent_runs import agent_config, running_agent
from tests.integration.agent.agent_runs import job_payload as job_of_agent
from tests.support.external.gitlab_client import GitLabClient
from tests.support.external.repositories import commit_files, create_sample_repository, make_spec, run_git
from tests.support.in_process.build_system import Body, BuildSystem
from tests.support.in_process.fake_gitlab import running_fake_gitlab
from tests.support.stacks.leak_search import LeakSearch

KEY_LINE = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ"
PRIVATE_KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{KEY_LINE}\n-----END OPENSSH PRIVATE KEY-----"
SSH_SCRIPT = r"""#!/bin/sh
printf '%s\n' "$*" >>"{log}"
key=
while :; do
  case $1 in
    -i) key=$2; shift 2 ;;
    -F | -o | -p) shift 2 ;;
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


@pytest.fixture
def ssh_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Put the fake ssh first in PATH. Return a function that reads the arguments of its calls."""
    programs, log = tmp_path / "programs", tmp_path / "ssh.log"
    programs.mkdir()
    (tmp_path / "key").write_text(f"{PRIVATE_KEY}\n")
    program = programs / "ssh"
    program.write_text(SSH_SCRIPT.replace("{log}", str(log)).replace("{key}", str(tmp_path / "key")))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return lambda: log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def client(tmp_path: Path) -> GitLabClient:
    return GitLabClient(tmp_path / "builds", {"GIT_CONFIG_NOSYSTEM": "1"})


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return create_sample_repository(tmp_path / "mill")


async def claim_job(system: BuildSystem, repository: Path, secrets: dict[str, str] | None = None, **more: str) -> Body:
    credential = {"name": f"key {repository}", "ssh_key": PRIVATE_KEY}
    created = await system.post("/api/admin/credentials", {"credential": credential}, 201)
    project = await system.create_project(
        repository=f"ssh://git@forge.example:2222{repository}", repository_credential_id=created.json()["id"], **more
    )
    for name, value in (secrets or {}).items():
        secret = {"name": name, "value": value, "projects_id": [project["id"]]}
        await system.post("/api/admin/secrets", {"secret": secret}, 201)
    runner = await system.register_runner(f"/project/{project['owner_alias']}/{project['alias']}/runners")
    await system.launch_build(project)
    return await runner.wait_for_job()


def variable_values(job: Body) -> dict[str, str]:
    return {variable["key"]: variable["value"] for variable in job["variables"]}


async def test_gitlab_runner_fetches_the_commit_with_the_ssh_key(
    system: BuildSystem, repository: Path, ssh_calls: Callable[[], list[str]], client: GitLabClient
) -> None:
    commit_files(repository, {"ci/build.sh": "git fetch origin main && echo fetched again\n"})
    job = await claim_job(system, repository)
    leaks = LeakSearch([KEY_LINE])
    with leaks.watch_command_lines() as command_lines:
        sources = client.get_sources(job)
        script = client.run_script(job)
    assert sources.returncode == 0, sources.stderr.decode()
    assert run_git(client.checkout, "rev-parse", "HEAD") == job["git_info"]["sha"]
    assert b"fetched again" in script.stdout, script.stderr.decode()
    assert command_lines
    assert leaks.findings == []
    assert "-p 2222" in ssh_calls()[-1]
    assert "StrictHostKeyChecking=accept-new" in ssh_calls()[-1]
    file_names = [file.name for file in (client.folder / "project.tmp").iterdir()]
    # GitLab Runner writes this file and deletes it after the job.
    assert [file_name for file_name in file_names if "SSH" in file_name] == ["HEADRACE_SSH_KEY"]


@pytest.mark.parametrize("shell", ["dash", "bash"])
async def test_a_failing_ssh_command_returns_its_status_and_leaves_no_key_file(
    system: BuildSystem, repository: Path, ssh_calls: Callable[[], list[str]], client: GitLabClient, shell: str
) -> None:
    job = await claim_job(system, repository)
    path = client.folder / "key"
    command = (
        f"umask 022; printf '%s' wrong >{path}; HEADRACE_SSH_KEY={path} {shell} -c '{{}}' x git@forge true; echo $?"
    )
    quoted = (variable_values(job)["GIT_SSH_COMMAND"] + ' "$@"').replace("'", "'\\''")
    done = client.run_bash(command.replace("{}", quoted))
    assert done.stdout.decode().split() == ["255"]
    assert "libcrypto" in done.stderr.decode()
    assert [file.name for file in client.folder.iterdir()] == ["key"]
    assert ssh_calls()[-1].endswith("git@forge true")


@pytest.mark.parametrize("place", ["secret", "spec file"])
async def test_a_git_ssh_command_of_the_project_replaces_the_generated_one(
    system: BuildSystem, repository: Path, ssh_calls: Callable[[], list[str]], place: str
) -> None:
    assert ssh_calls() == []
    commit_files(repository, {".gitlab-ci.yml": 'build: {script: x, variables: {GIT_SSH_COMMAND: "ssh -v"}}\n'})
    commit_files(repository, {"headrace.yaml": make_spec({"build": ""})})
    if place == "secret":
        job = await claim_job(system, repository, {"GIT_SSH_COMMAND": "ssh -v"})
    else:
        job = await claim_job(system, repository, spec_file_path="/.gitlab-ci.yml")
    assert variable_values(job)["GIT_SSH_COMMAND"] == "ssh -v"
    assert "GIT_SSH_VARIANT" not in variable_values(job)
    assert variable_values(job)["HEADRACE_SSH_KEY"] == f"{PRIVATE_KEY}\n"


async def test_without_an_ssh_key_no_ssh_variables_are_set(system: BuildSystem) -> None:
    project = await system.create_project()
    runner = await system.register_runner(f"/project/{project['owner_alias']}/{project['alias']}/runners")
    await system.launch_build(project)
    assert (
        not {"GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "HEADRACE_SSH_KEY"}
        & variable_values(await runner.wait_for_job()).keys()
    )


async def test_without_a_key_file_the_ssh_command_calls_plain_ssh(
    client: GitLabClient, ssh_calls: Callable[[], list[str]]
) -> None:
    client.folder.mkdir()
    done = client.run_bash(f"{COMMAND} git@forge.example true; echo $?")
    assert (done.stdout.split(), ssh_calls()) == ([b"255"], ["git@forge.example true"])


async def test_job_scripts_on_the_headrace_agent_fetch_with_the_ssh_key(
    repository: Path, tmp_path: Path, ssh_calls: Callable[[], list[str]]
) -> None:
    job = job_of_agent(1, repository, "git fetch --quiet origin main && echo fetched again")
    job["git_info"] |= {
        "repo_url": f"ssh://git@forge.example{repository}",
        "refspecs": [f"+{job['git_info']['sha']}:refs/remotes/origin/main"],
    }
    job["variables"] = [variable.model_dump() for variable in ssh_variables(PRIVATE_KEY, ())]
    async with running_fake_gitlab() as server:
        server.pending_jobs.put_nowait(job)
        async with running_agent(agent_config(server, tmp_path)):
            final = await server.wait_for_final_state(1)
        assert (final["state"], "fetched again" in server.log_text(1)) == ("success", True), server.log_text(1)
    assert len(ssh_calls()) == 2
