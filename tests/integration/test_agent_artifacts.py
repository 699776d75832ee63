"""The agent and files that outlive a job: what it uploads after which end, and what it fetches first."""

import io
import subprocess
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.agent_coordinator import Coordinator, coordinator
from tests.integration.test_agent import GIT, configured, job, serving


@pytest.fixture
async def server() -> AsyncIterator[Coordinator]:
    async with coordinator() as server:
        yield server


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    (path / "greeting").write_text("good morning\n")
    (path / ".gitignore").write_text("ignored\n")
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*GIT, *command], cwd=path, check=True)
    return path


def artifacts(*paths: str, **more: Any) -> dict[str, Any]:
    return {"artifacts": [{"paths": list(paths), "when": "on_success", **more}]}


def dependency(number: int) -> dict[str, Any]:
    file = {"filename": "out.zip", "size": 1}
    return {"id": number, "name": "prepare", "token": "token-of-dependency", "artifacts_file": file}


def zipped(**files: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def unzipped(content: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {one.filename: archive.read(one).decode() for one in archive.infolist() if not one.is_dir()}


async def ran(server: Coordinator, tmp_path: Path, *jobs: dict[str, Any]) -> dict[str, Any]:
    """The final state of the last job."""
    for one in jobs:
        server.waiting.put_nowait(one)
    async with serving(configured(server, tmp_path)):
        return await server.final(jobs[-1]["id"])


async def test_what_a_job_leaves_is_uploaded_before_its_result(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    script = ("mkdir -p out/deep", "echo 1 > out/app", "echo 2 > out/deep/lib.o", "echo 3 > other")
    wanted = artifacts("out/", exclude=["**/*.o"], name="app-$CI_COMMIT_REF_NAME", expire_in="1 day")
    ref = [{"key": "CI_COMMIT_REF_NAME", "value": "feature/x"}]
    final = await ran(server, tmp_path, job(1, repository, *script, variables=ref, **wanted))
    assert final["state"] == "success"
    assert unzipped(server.artifacts[1]) == {"out/app": "1\n"}
    assert server.uploads == [
        {
            "token": "token-of-1",
            "name": "app-feature-x.zip",
            "artifact_type": "archive",
            "artifact_format": "zip",
            "expire_in": "1 day",
        }
    ]


async def test_files_that_git_does_not_know_are_taken_as_well(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    wanted = artifacts(untracked=True)
    await ran(server, tmp_path, job(1, repository, "echo 1 > new", "echo 2 > ignored", "echo 3 >> greeting", **wanted))
    assert unzipped(server.artifacts[1]) == {"new": "1\n", "ignored": "2\n"}


async def test_no_variable_of_a_job_changes_which_program_asks_git(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\ntouch {tmp_path}/fooled\n")
    fake.chmod(0o755)
    path = [{"key": "PATH", "value": f"{fake.parent}:/usr/local/bin:/usr/bin:/bin"}]
    await ran(server, tmp_path, job(1, repository, "echo 1 > new", variables=path, **artifacts(untracked=True)))
    assert unzipped(server.artifacts[1]) == {"new": "1\n"}
    assert not (tmp_path / "fooled").exists()


@pytest.mark.parametrize(
    ("when", "script", "uploads"),
    [
        ("on_success", "true", 1),
        ("on_success", "false", 0),
        ("on_failure", "true", 0),
        ("on_failure", "false", 1),
        ("always", "true", 1),
        ("always", "false", 1),
    ],
)
async def test_they_are_uploaded_after_the_end_that_the_job_names(
    server: Coordinator, repository: Path, tmp_path: Path, when: str, script: str, uploads: int
) -> None:
    await ran(server, tmp_path, job(1, repository, script, **artifacts("greeting", when=when)))
    assert len(server.uploads) == uploads


async def test_files_of_after_script_are_uploaded_too(server: Coordinator, repository: Path, tmp_path: Path) -> None:
    steps = [
        {"name": "script", "script": ["true"]},
        {"name": "after_script", "script": ["echo late > report"], "when": "always"},
    ]
    await ran(server, tmp_path, job(1, repository, steps=steps, **artifacts("report")))
    assert unzipped(server.artifacts[1]) == {"report": "late\n"}


async def test_patterns_that_match_nothing_are_a_warning(server: Coordinator, repository: Path, tmp_path: Path) -> None:
    final = await ran(server, tmp_path, job(1, repository, "true", **artifacts("missing/")))
    assert (final["state"], server.uploads) == ("success", [])
    assert "WARNING: no file matches the artifacts" in server.log(1)


async def test_an_upload_is_tried_again_while_the_server_is_busy(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    server.file_answers = [503, 500]
    final = await ran(server, tmp_path, job(1, repository, "true", **artifacts("greeting")))
    assert final["state"] == "success"
    assert unzipped(server.artifacts[1]) == {"greeting": "good morning\n"}


async def test_an_upload_that_is_refused_fails_the_job_in_words(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    server.file_answers = [413]
    final = await ran(server, tmp_path, job(1, repository, "true", **artifacts("greeting")))
    assert (final["state"], final["failure_reason"]) == ("failed", "script_failure")
    assert "ERROR: artifacts could not be uploaded" in server.log(1)


async def test_a_failed_script_stays_the_reason_when_its_artifacts_are_refused(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    server.file_answers = [413]
    final = await ran(server, tmp_path, job(1, repository, "exit 7", **artifacts("greeting", when="always")))
    assert (final["failure_reason"], final["exit_code"]) == ("script_failure", 7)


async def test_archives_of_earlier_jobs_are_there_before_the_script(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    server.artifacts[10] = zipped(**{"out/app": "built\n", "greeting": "changed\n"})
    server.file_answers = [502]
    final = await ran(server, tmp_path, job(1, repository, "cat out/app greeting", dependencies=[dependency(10)]))
    assert final["state"] == "success"
    assert "built\nchanged\n" in server.log(1)


@pytest.mark.parametrize("there", [{}, {10: b"no zip"}], ids=["missing", "broken"])
async def test_without_the_archive_of_an_earlier_job_the_script_does_not_begin(
    server: Coordinator, repository: Path, tmp_path: Path, there: dict[int, bytes]
) -> None:
    server.artifacts = dict(there)
    final = await ran(server, tmp_path, job(1, repository, "echo began", dependencies=[dependency(10)]))
    assert (final["state"], final["failure_reason"]) == ("failed", "script_failure")
    assert "ERROR: artifacts of prepare" in server.log(1)
    assert "began" not in server.log(1)


async def test_a_link_out_of_the_folder_is_not_followed(server: Coordinator, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush")
    script = ("mkdir out", f"ln -s {tmp_path}/secret out/link", "echo 1 > out/app")
    await ran(server, tmp_path, job(1, repository, *script, **artifacts("out")))
    assert unzipped(server.artifacts[1]) == {"out/app": "1\n"}
    assert "WARNING: left out" in server.log(1)
