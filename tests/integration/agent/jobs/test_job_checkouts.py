"""Checkouts of jobs: strategy, submodules, depth, SSH keys, missing commits and credentials."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.agent.agent_runs import GIT_COMMAND, agent_config, job_payload, job_variable, running_agent
from tests.support.in_process.fake_gitlab import FakeGitLabServer


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
    # also checks the file's mode: ssh-keygen rejects a key that other users can read
    script = ("ssh-keygen -y -f $HEADRACE_SSH_KEY", f"grep -rl PRIV[A]TE {tmp_path} || echo nowhere")
    variables = [job_variable("HEADRACE_SSH_KEY", key, file=True, masked=True)]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, *script, variables=variables))
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_for_final_state(1)
    assert public in gitlab.log_text(1)
    assert "nowhere\n" in gitlab.log_text(1)


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


async def test_git_settings_of_the_agents_file_apply_to_the_fetch(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    payload = job_payload(1, repository, "cat greeting")
    payload["git_info"]["repo_url"] = "https://mirror.invalid/r=1/repository"
    gitlab.pending_jobs.put_nowait(payload)
    setting = f"url.{repository.parent}/.insteadOf=https://mirror.invalid/r=1/"
    async with running_agent(replace(agent_config(gitlab, tmp_path), git_config=(setting,))):
        final = await gitlab.wait_for_final_state(1)
    assert final["state"] == "success", gitlab.log_text(1)


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
@pytest.mark.parametrize("skip", ["0", "1"])
async def test_files_of_git_lfs_are_fetched_if_the_repository_has_some(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path, skip: str
) -> None:
    (repository / "nested").mkdir()
    (repository / "nested" / "model.bin").write_text("a large file\n")
    for command in (
        ["lfs", "install", "--local"],
        ["-C", "nested", "lfs", "track", "*.bin"],
        ["add", "."],
        ["commit", "-q", "-m", "a large file"],
    ):
        subprocess.run([*GIT_COMMAND, *command], cwd=repository, check=True)  # noqa: ASYNC221
    payload = job_payload(
        1,
        repository,
        "cat nested/model.bin; git status --porcelain; git config --list --show-origin",
        variables=[job_variable("GIT_LFS_SKIP_SMUDGE", skip)],
    )
    payload["git_info"]["repo_url"] = f"file://{repository}"
    gitlab.pending_jobs.put_nowait(payload)
    async with running_agent(agent_config(gitlab, tmp_path)):
        assert (await gitlab.wait_for_final_state(1))["state"] == "success", gitlab.log_text(1)
    log = gitlab.log_text(1)
    assert ("a large file\n" in log, "filter.lfs.process" in log) == ((True, True) if skip == "0" else (False, False))
    assert " M nested" not in log
