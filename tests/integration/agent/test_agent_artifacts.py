"""The agent uploads artifacts depending on the job's outcome, and downloads artifacts of earlier jobs."""

import gzip
import io
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from agent.artifacts import artifact_transfer
from tests.integration.agent.agent_runs import GIT_COMMAND, agent_config, job_payload, running_agent
from tests.support.in_process.fake_gitlab import FakeGitLabServer, running_fake_gitlab


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    (path / "greeting").write_text("good morning\n")
    (path / ".gitignore").write_text("ignored\n")
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*GIT_COMMAND, *command], cwd=path, check=True)
    return path


def artifact_settings(*paths: str, **more: Any) -> dict[str, Any]:
    return {"artifacts": [{"paths": list(paths), "when": "on_success", **more}]}


def dependency(number: int) -> dict[str, Any]:
    file = {"filename": "out.zip", "size": 1}
    return {"id": number, "name": "prepare", "token": "token-of-dependency", "artifacts_file": file}


def make_zip(**files: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def read_zip(content: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {member.filename: archive.read(member).decode() for member in archive.infolist() if not member.is_dir()}


async def run_jobs_in_order(server: FakeGitLabServer, tmp_path: Path, *jobs: dict[str, Any]) -> dict[str, Any]:
    for payload in jobs:
        server.pending_jobs.put_nowait(payload)
    async with running_agent(agent_config(server, tmp_path)):
        return await server.wait_for_final_state(jobs[-1]["id"])


async def test_artifacts_are_uploaded_before_the_final_state(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    script = ("mkdir -p out/deep", "echo 1 > out/app", "echo 2 > out/deep/lib.o", "echo 3 > other")
    wanted = artifact_settings("out/", exclude=["**/*.o"], name="app-$CI_COMMIT_REF_NAME", expire_in="1 day")
    ref = [{"key": "CI_COMMIT_REF_NAME", "value": "feature/x"}]
    final = await run_jobs_in_order(gitlab, tmp_path, job_payload(1, repository, *script, variables=ref, **wanted))
    assert final["state"] == "success"
    assert read_zip(gitlab.artifacts[1]) == {"out/app": "1\n"}
    assert gitlab.artifact_uploads == [
        {
            "token": "token-of-1",
            "name": "app-feature-x.zip",
            "artifact_type": "archive",
            "artifact_format": "zip",
            "expire_in": "1 day",
        }
    ]


async def test_reports_are_uploaded_as_gzip_members_after_a_failure(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    script = ("mkdir -p out/empty", "echo 1 > out/a.xml", "echo 2 > out/b.xml", "ln -s a.xml out/c.xml", "exit 3")
    wanted = artifact_settings("out/**", name="junit.xml", when="always", artifact_type="junit", artifact_format="gzip")
    final = await run_jobs_in_order(gitlab, tmp_path, job_payload(1, repository, *script, **wanted))
    assert final["exit_code"] == 3
    assert gzip.decompress(gitlab.artifacts[1]) == b"1\n2\n"
    (upload,) = gitlab.artifact_uploads
    assert (upload["name"], upload["artifact_type"], upload["artifact_format"]) == ("junit.xml.gz", "junit", "gzip")
    assert b"regular files: out/c.xml" in gitlab.logs[1]


async def test_untracked_files_are_uploaded_on_request(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    wanted = artifact_settings(untracked=True)
    await run_jobs_in_order(
        gitlab, tmp_path, job_payload(1, repository, "echo 1 > new", "echo 2 > ignored", "echo 3 >> greeting", **wanted)
    )
    assert read_zip(gitlab.artifacts[1]) == {"new": "1\n", "ignored": "2\n"}


async def test_a_job_variable_cannot_replace_the_git_program_that_lists_untracked_files(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\ntouch {tmp_path}/fooled\n")
    fake.chmod(0o755)
    path = [{"key": "PATH", "value": f"{fake.parent}:/usr/local/bin:/usr/bin:/bin"}]
    await run_jobs_in_order(
        gitlab,
        tmp_path,
        job_payload(1, repository, "echo 1 > new", variables=path, **artifact_settings(untracked=True)),
    )
    assert read_zip(gitlab.artifacts[1]) == {"new": "1\n"}
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
async def test_artifacts_are_uploaded_only_after_the_outcome_given_by_when(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path, when: str, script: str, uploads: int
) -> None:
    await run_jobs_in_order(
        gitlab, tmp_path, job_payload(1, repository, script, **artifact_settings("greeting", when=when))
    )
    assert len(gitlab.artifact_uploads) == uploads


async def test_files_written_by_after_script_are_uploaded(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    steps = [
        {"name": "script", "script": ["true"]},
        {"name": "after_script", "script": ["echo late > report"], "when": "always"},
    ]
    await run_jobs_in_order(gitlab, tmp_path, job_payload(1, repository, steps=steps, **artifact_settings("report")))
    assert read_zip(gitlab.artifacts[1]) == {"report": "late\n"}


async def test_artifact_patterns_without_a_match_log_a_warning(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    final = await run_jobs_in_order(
        gitlab, tmp_path, job_payload(1, repository, "true", **artifact_settings("missing/"))
    )
    assert (final["state"], gitlab.artifact_uploads) == ("success", [])
    assert "WARNING: no files match the artifact paths" in gitlab.log_text(1)


async def test_an_artifact_upload_is_retried_after_server_errors(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.artifact_statuses = [503, 500]
    final = await run_jobs_in_order(
        gitlab, tmp_path, job_payload(1, repository, "true", **artifact_settings("greeting"))
    )
    assert final["state"] == "success"
    assert read_zip(gitlab.artifacts[1]) == {"greeting": "good morning\n"}


async def test_a_rejected_artifact_upload_fails_the_job_and_is_logged(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.artifact_statuses = [413]
    final = await run_jobs_in_order(
        gitlab, tmp_path, job_payload(1, repository, "true", **artifact_settings("greeting"))
    )
    assert (final["state"], final["failure_reason"]) == ("failed", "script_failure")
    assert "ERROR: artifacts could not be uploaded" in gitlab.log_text(1)


async def test_a_rejected_upload_does_not_replace_the_failure_reason_of_the_script(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.artifact_statuses = [413]
    final = await run_jobs_in_order(
        gitlab, tmp_path, job_payload(1, repository, "exit 7", **artifact_settings("greeting", when="always"))
    )
    assert (final["failure_reason"], final["exit_code"]) == ("script_failure", 7)


@pytest.mark.parametrize(("script", "reason"), [("exit 7", "script_failure"), ("true", "runner_system_failure")])
async def test_artifacts_that_cannot_be_read_do_not_replace_the_failure_reason_of_the_script(
    gitlab: FakeGitLabServer,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    reason: str,
) -> None:
    def fail_to_pack(*_: object) -> list[str]:
        raise PermissionError("greeting is not readable")

    monkeypatch.setattr(artifact_transfer, "pack", fail_to_pack)
    payload = job_payload(1, repository, script, **artifact_settings("greeting", when="always"))
    final = await run_jobs_in_order(gitlab, tmp_path, payload)
    assert final["failure_reason"] == reason
    assert "ERROR: greeting is not readable" in gitlab.log_text(1)


async def test_artifacts_of_earlier_jobs_are_extracted_before_the_script(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.artifacts[10] = make_zip(**{"out/app": "built\n", "greeting": "changed\n"})
    gitlab.artifact_statuses = [502]
    final = await run_jobs_in_order(
        gitlab, tmp_path, job_payload(1, repository, "cat out/app greeting", dependencies=[dependency(10)])
    )
    assert final["state"] == "success"
    assert "built\nchanged\n" in gitlab.log_text(1)


async def test_the_job_token_is_not_sent_to_another_server_that_a_download_is_redirected_to(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    async with running_fake_gitlab() as bucket:
        bucket.artifacts[10] = make_zip(**{"out/app": "built\n"})
        gitlab.artifact_location = f"{bucket.url}/bucket"
        payload = job_payload(1, repository, "cat out/app", dependencies=[dependency(10)])
        assert (await run_jobs_in_order(gitlab, tmp_path, payload))["state"] == "success"
    [headers] = bucket.bucket_headers
    assert "job-token" not in headers


@pytest.mark.parametrize("there", [{}, {10: b"no zip"}], ids=["missing", "broken"])
async def test_a_missing_or_broken_dependency_archive_fails_the_job_before_its_script(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path, there: dict[int, bytes]
) -> None:
    gitlab.artifacts = dict(there)
    final = await run_jobs_in_order(
        gitlab, tmp_path, job_payload(1, repository, "echo began", dependencies=[dependency(10)])
    )
    assert (final["state"], final["failure_reason"]) == ("failed", "script_failure")
    assert "ERROR: artifacts of prepare" in gitlab.log_text(1)
    assert "began" not in gitlab.log_text(1)


async def test_a_symlink_out_of_the_checkout_is_not_uploaded(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("hush")
    script = ("mkdir out", f"ln -s {tmp_path}/secret out/link", "echo 1 > out/app")
    await run_jobs_in_order(gitlab, tmp_path, job_payload(1, repository, *script, **artifact_settings("out")))
    assert read_zip(gitlab.artifacts[1]) == {"out/app": "1\n"}
    assert "WARNING: skipped because they lead out of the folder" in gitlab.log_text(1)
