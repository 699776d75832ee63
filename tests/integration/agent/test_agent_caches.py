"""The agent's job caches: real HTTP, real git, real zip files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.integration.agent.agent_runs import agent_config, job_payload, job_variable, running_agent
from tests.support.in_process.fake_gitlab import FakeGitLabServer

WRITE_SCRIPT = ("mkdir -p deps/deep", "echo kept > deps/deep/file", "ln -s deep deps/link")
READ_SCRIPT = ("cat deps/link/file 2>/dev/null || echo nothing there",)


def job_with_cache(number: int, repository: Path, *script: str, project: int = 1, **cache: Any) -> dict[str, Any]:
    wanted = [{"key": "deps", "paths": ["deps/"], "policy": "pull-push", **cache}]
    return job_payload(number, repository, *script, cache=wanted, job_info={"name": "a job", "project_id": project})


async def run_jobs(server: FakeGitLabServer, tmp_path: Path, *jobs: dict[str, Any], **settings: Any) -> str:
    for payload in jobs:
        server.pending_jobs.put_nowait(payload)
    async with running_agent(replace(agent_config(server, tmp_path), **settings)):
        final = [await server.wait_for_final_state(payload["id"]) for payload in jobs]
    assert final[-1]["state"] == "success"
    return server.log_text(jobs[-1]["id"])


async def test_a_cache_saved_by_one_job_is_restored_for_the_next(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    first = await run_jobs(gitlab, tmp_path, job_with_cache(1, repository, *WRITE_SCRIPT))
    assert "Cache deps not found on this machine" in first
    assert "Saved cache deps: 4 files and folders" in first
    assert "Restored cache deps\nkept" in await run_jobs(gitlab, tmp_path, job_with_cache(2, repository, *READ_SCRIPT))


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"policy": "pull"}, {}),
        ({}, {"policy": "push"}),
        ({}, {"key": "other"}),
        ({}, {"project": 2}),
        ({"when": "on_failure"}, {}),
        ({"paths": ["nowhere"]}, {}),
    ],
)
async def test_a_cache_is_restored_only_for_the_same_key_project_and_policy(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path, before: dict[str, Any], now: dict[str, Any]
) -> None:
    log = await run_jobs(
        gitlab,
        tmp_path,
        job_with_cache(1, repository, *WRITE_SCRIPT, **before),
        job_with_cache(2, repository, *READ_SCRIPT, **now),
    )
    assert "nothing there" in log


async def test_a_failed_job_saves_a_cache_with_when_always(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    failing = job_with_cache(1, repository, *WRITE_SCRIPT, "exit 1", when="always")
    assert "kept" in await run_jobs(gitlab, tmp_path, failing, job_with_cache(2, repository, *READ_SCRIPT))


async def test_fallback_keys_are_used_and_cache_keys_expand_variables(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    wanted = job_with_cache(2, repository, *READ_SCRIPT, key="new", fallback_keys=["newer", "of-main"])
    last = job_with_cache(3, repository, *READ_SCRIPT, key="newest") | {
        "variables": [job_variable("CACHE_FALLBACK_KEY", "of-main")]
    }
    named = job_with_cache(1, repository, *WRITE_SCRIPT, key="of-$BRANCH") | {
        "variables": [job_variable("BRANCH", "main")]
    }
    assert "Restored cache of-main" in await run_jobs(gitlab, tmp_path, named, wanted)
    assert "Restored cache of-main" in await run_jobs(gitlab, tmp_path, last)


async def test_a_protected_branch_does_not_restore_caches_of_unprotected_branches(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    dispatcher = job_with_cache(1, repository, *WRITE_SCRIPT) | {
        "variables": [job_variable("CI_COMMIT_REF_PROTECTED", "true")]
    }
    protected = job_with_cache(2, repository, *READ_SCRIPT)
    protected["git_info"]["protected"] = True
    assert "nothing there" in await run_jobs(gitlab, tmp_path, dispatcher, protected)


async def test_caches_are_separated_by_the_servers_keys_if_it_supports_this_else_by_the_agent(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    """A server that announces `separate_caches` sends cache keys that already differ between projects.

    For other servers, the agent keeps each project's caches in a folder of its own.
    """
    separate = {"features": {"separate_caches": True}}
    first = job_with_cache(1, repository, *WRITE_SCRIPT, key="1-deps-non_protected") | separate
    same_key = job_with_cache(2, repository, *READ_SCRIPT, project=2, key="1-deps-non_protected") | separate
    assert "Restored cache 1-deps-non_protected\nkept" in await run_jobs(gitlab, tmp_path, first, same_key)
    (archive,) = (tmp_path / "builds" / "cache").glob("*/*")
    older = job_with_cache(3, repository, *READ_SCRIPT, key="1-deps-non_protected")
    assert "nothing there" in await run_jobs(gitlab, tmp_path, older)
    assert "-" not in archive.parent.name


async def test_a_damaged_cache_logs_a_warning_and_is_deleted(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    await run_jobs(gitlab, tmp_path, job_with_cache(1, repository, *WRITE_SCRIPT))
    (archive,) = (tmp_path / "builds" / "cache").glob("*/*")
    archive.write_bytes(b"no zip")
    log = await run_jobs(gitlab, tmp_path, job_with_cache(2, repository, *READ_SCRIPT, policy="pull"))
    assert "WARNING: cache deps could not be restored" in log
    assert not archive.exists()


async def test_the_oldest_caches_are_evicted_and_a_cache_above_the_limit_is_not_saved(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    fill = "mkdir deps; head -c 600000 /dev/urandom > deps/file"
    jobs = [job_with_cache(number, repository, fill, key=f"k{number}") for number in (1, 2)]
    large = job_with_cache(3, repository, "mkdir deps; head -c 1200000 /dev/urandom > deps/file", key="large")
    log = await run_jobs(gitlab, tmp_path, *jobs, large, cache_megabytes=1)
    assert "WARNING: cache large could not be saved: its 1 MiB exceed" in log
    assert len(list((tmp_path / "builds" / "cache").glob("*/*"))) == 1
    reading_job = job_with_cache(4, repository, "ls deps", key="k2", policy="pull")
    assert "Restored cache k2" in await run_jobs(gitlab, tmp_path, reading_job)


async def test_a_cache_limit_of_0_disables_caches(gitlab: FakeGitLabServer, repository: Path, tmp_path: Path) -> None:
    jobs = job_with_cache(1, repository, *WRITE_SCRIPT), job_with_cache(2, repository, *READ_SCRIPT)
    assert "nothing there" in await run_jobs(gitlab, tmp_path, *jobs, cache_megabytes=0)
    assert not (tmp_path / "builds" / "cache").exists()
