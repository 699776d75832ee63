"""Repositories and scripts that attack the agent or later jobs on the shell executor, with real git and processes."""

import io
import os
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.config import ArchiveLimits, DockerSettings, ProcessLimits
from tests.integration.agent.agent_runs import (
    GIT_COMMAND,
    agent_config,
    job_payload,
    job_variable,
    running_agent,
)
from tests.support.in_process.fake_gitlab import FakeGitLabServer

PASSWORD = "pa:ss-w0rd"


@pytest.fixture
def host_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set the home folder of the process that runs the agent. Return the folder."""
    home = tmp_path / "host-home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


def commit_file(repository: Path, name: str, text: str) -> None:
    (repository / name).write_text(text)
    for command in (["add", "."], ["commit", "-q", "-m", name]):
        subprocess.run([*GIT_COMMAND, *command], cwd=repository, check=True)


def payload_with_login(server: FakeGitLabServer, number: int, repository: Path, *script: str) -> dict[str, Any]:
    """Return a job whose repository the server serves to a user with a password."""
    subprocess.run(["git", "update-server-info"], cwd=repository, check=True)
    server.served_repository, server.login = repository / ".git", ("ada", PASSWORD)
    payload = job_payload(number, repository, *script)
    payload["git_info"]["repo_url"] = server.url.replace("http://", "http://ada:pa%3Ass-w0rd@") + "/served"
    return payload


def poison(home: str, loot: Path) -> tuple[str, ...]:
    """Return script lines that make git run programs of the attacker, through the configuration in a home folder."""
    spy = f"env >> {loot}; echo ran >> {loot}"
    return (
        f"mkdir -p {home}/evil {home}/.config/git",
        f"printf '#!/bin/sh\\n{spy}\\n' > {home}/evil/post-checkout",
        f"cp {home}/evil/post-checkout {home}/evil/reference-transaction",
        f"chmod +x {home}/evil/*",
        f"git config --file {home}/.gitconfig core.hooksPath {home}/evil",
        f"git config --file {home}/.gitconfig core.fsmonitor {home}/evil/post-checkout",
        f"""git config --file {home}/.gitconfig filter.spy.smudge "sh -c '{spy}; cat'" """,
        f"""git config --file {home}/.gitconfig credential.helper "!f() {{ cat >> {loot}; }}; f" """,
        f"echo '* filter=spy' > {home}/.config/git/attributes",
    )


@pytest.mark.parametrize("target", ["$HOME", "{host_home}"], ids=["its own HOME", "the HOME of the agent's user"])
async def test_a_job_cannot_poison_the_git_configuration_of_the_next_job_or_of_the_agent(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path, host_home: Path, target: str
) -> None:
    loot = tmp_path / "loot"
    commit_file(repository, ".gitattributes", "* filter=spy\n")
    gitlab.pending_jobs.put_nowait(
        job_payload(1, repository, *poison(target.format(host_home=host_home), loot), "echo poisoned")
    )
    script = ("echo new > untracked", "git config --list --show-origin", "git status", "git checkout -q -b work")
    second = payload_with_login(gitlab, 2, repository, *script)
    gitlab.pending_jobs.put_nowait(second | {"artifacts": [{"untracked": True, "when": "always"}]})
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_for_final_state(1)
        final = await gitlab.wait_for_final_state(2)
    assert "poisoned" in gitlab.log_text(1)
    assert final["state"] == "success"
    assert not loot.exists(), loot.read_text()
    assert "evil" not in gitlab.log_text(2)
    assert gitlab.artifact_uploads


async def test_each_job_has_its_own_home_and_temporary_folder_that_are_removed(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path, host_home: Path
) -> None:
    script = ("touch ~/mine $(mktemp)", "ls -A ~ $TMPDIR", "stat -c 'mode %a' ~ $TMPDIR", "echo ~ $TMPDIR")
    for number in (1, 2):
        gitlab.pending_jobs.put_nowait(job_payload(number, repository, *script))
    async with running_agent(agent_config(gitlab, tmp_path)):
        for number in (1, 2):
            await gitlab.wait_for_final_state(number)
    assert list((tmp_path / "builds").rglob("mine")) == []
    homes = set()
    for number in (1, 2):
        log = gitlab.log_text(number)
        assert log.count("mode 700") == 2
        assert (log.count("mine\n"), log.count("\ntmp.")) == (1, 1)
        [home] = {line for line in log.splitlines() if "/home " in line}
        homes.add(home)
    assert len(homes) == 2
    assert list(host_home.iterdir()) == []  # noqa: ASYNC240


async def test_only_the_fetch_has_the_credentials_of_the_repository(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program in place of git records which commands have the password in their environment."""
    payload = payload_with_login(gitlab, 1, repository, "cat .git/config; env | grep ss-w[0]rd || echo unknown")
    record, real_git = tmp_path / "record", subprocess.check_output(["which", "git"], text=True).strip()  # noqa: ASYNC221
    spy = tmp_path / "bin" / "git"
    spy.parent.mkdir()
    spy.write_text(f'#!/bin/sh\necho "$1:$HEADRACE_GIT_PASSWORD" >> {record}\nexec {real_git} "$@"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}:{os.environ['PATH']}")
    gitlab.pending_jobs.put_nowait(payload | {"artifacts": [{"untracked": True, "when": "always"}]})
    async with running_agent(agent_config(gitlab, tmp_path)):
        assert (await gitlab.wait_for_final_state(1))["state"] == "success"
    calls = dict(line.split(":", 1) for line in record.read_text().splitlines())
    assert calls == {"init": "", "fetch": PASSWORD, "checkout": "", "ls-files": ""}
    assert "unknown" in gitlab.log_text(1)
    assert not any("ss-w0rd" in line for line in gitlab.command_lines)


@pytest.mark.parametrize("update", ["checkout", "command"])
async def test_a_submodule_starts_no_program_during_its_checkout(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path, host_home: Path, update: str
) -> None:
    loot, part = tmp_path / "loot", tmp_path / "part"
    subprocess.run(["git", "clone", "-q", str(repository), str(part)], check=True)  # noqa: ASYNC221
    commit_file(part, ".gitattributes", "* filter=spy\n")
    add = ["-c", "protocol.file.allow=always", "submodule", "-q", "add", str(part), "part"]
    subprocess.run([*GIT_COMMAND, *add], cwd=repository, check=True)  # noqa: ASYNC221
    if update == "command":
        subprocess.run(  # noqa: ASYNC221
            ["git", "config", "-f", ".gitmodules", "submodule.part.update", f"!touch {loot}"],
            cwd=repository,
            check=True,
        )
    commit_file(repository, "more", "")
    subprocess.run(["sh", "-c", "\n".join(poison(str(host_home), loot))], check=True)  # noqa: ASYNC221
    variables = [job_variable("GIT_SUBMODULE_STRATEGY", "recursive")]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "cat part/greeting", variables=variables))
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert not loot.exists()
    assert final["state"] == ("success" if update == "checkout" else "failed")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (ArchiveLimits(), "times larger than the archive, the agent's limit is 200 times"),
        (ArchiveLimits(download_megabytes=1), "the file is larger than the agent's limit of 1048576 bytes"),
    ],
)
async def test_an_archive_bomb_of_an_earlier_job_fails_the_job_and_not_the_agent(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path, limits: ArchiveLimits, message: str
) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("zeros", "w") as file:
        for _ in range(300):
            file.write(bytes(1024 * 1024))
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr("noise", os.urandom(1024 * 1024))
    gitlab.artifacts[10] = content.getvalue()
    needed = {
        "id": 10,
        "name": "prepare",
        "token": "token-of-dependency",
        "artifacts_file": {"filename": "out.zip", "size": 1},
    }
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "echo began", dependencies=[needed]))
    gitlab.pending_jobs.put_nowait(job_payload(2, repository, "echo next"))
    async with running_agent(replace(agent_config(gitlab, tmp_path), archives=limits)):
        final = await gitlab.wait_for_final_state(1)
        assert (await gitlab.wait_for_final_state(2))["state"] == "success"
    assert (final["state"], final["failure_reason"]) == ("failed", "script_failure")
    assert message in gitlab.log_text(1)
    assert "began" not in gitlab.log_text(1)


@pytest.mark.parametrize("image", [{"name": "alpine"}, None], ids=["with image", "without image"])
async def test_no_job_of_the_docker_executor_falls_back_to_a_shell(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path, image: dict[str, str] | None
) -> None:
    docker = DockerSettings(socket=str(tmp_path / "no-docker.sock"))
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, f"touch {tmp_path}/escaped", image=image))
    async with running_agent(replace(agent_config(gitlab, tmp_path), executor="docker", docker=docker)):
        final = await gitlab.wait_for_final_state(1)
    assert (final["state"], final["failure_reason"]) == ("failed", "runner_system_failure")
    assert "ERROR: Docker is not available at" in gitlab.log_text(1)
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize(
    ("limits", "attempt"),
    [
        (ProcessLimits(memory_megabytes=512), "python3 -c 'bytearray(2**30)'"),
        (ProcessLimits(file_megabytes=1), "head -c 2000000 /dev/zero > big"),
        (ProcessLimits(open_files=32), "python3 -c '[open(\"greeting\") for _ in range(64)][63]'"),
        (ProcessLimits(cpu_seconds=1), "while :; do :; done"),
    ],
    ids=["memory", "file size", "open files", "CPU time"],
)
async def test_a_process_that_exceeds_a_limit_fails_and_the_agent_runs_the_next_job(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path, limits: ProcessLimits, attempt: str
) -> None:
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, attempt))
    gitlab.pending_jobs.put_nowait(job_payload(2, repository, "echo next"))
    async with running_agent(replace(agent_config(gitlab, tmp_path), limits=limits)):
        final = await gitlab.wait_for_final_state(1)
        assert (await gitlab.wait_for_final_state(2))["state"] == "success"
    assert (final["state"], final["failure_reason"]) == ("failed", "script_failure")
