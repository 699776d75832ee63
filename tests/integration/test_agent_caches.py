"""What the agent keeps of jobs for later ones: real HTTP, real git, real zips."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.integration.agent_coordinator import Coordinator, coordinator
from tests.integration.test_agent import configured, job, repository, serving, variable

__all__ = ["repository"]

WRITE = ("mkdir -p deps/deep", "echo kept > deps/deep/file", "ln -s deep deps/link")
LOOK = ("cat deps/link/file 2>/dev/null || echo nothing there",)


@pytest.fixture
async def server() -> AsyncIterator[Coordinator]:
    async with coordinator() as server:
        yield server


def caching(number: int, repository: Path, *script: str, project: int = 1, **cache: Any) -> dict[str, Any]:
    wanted = [{"key": "deps", "paths": ["deps/"], "policy": "pull-push", **cache}]
    return job(number, repository, *script, cache=wanted, job_info={"name": "a job", "project_id": project})


async def ran(server: Coordinator, tmp_path: Path, *jobs: dict[str, Any], **settings: Any) -> str:
    """The jobs one after the other; the log of the last one."""
    for one in jobs:
        server.waiting.put_nowait(one)
    async with serving(replace(configured(server, tmp_path), **settings)):
        final = [await server.final(one["id"]) for one in jobs]
    assert final[-1]["state"] == "success"
    return server.log(jobs[-1]["id"])


async def test_what_one_job_keeps_the_next_one_has_whatever_agent_runs_it(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    first = await ran(server, tmp_path, caching(1, repository, *WRITE))
    assert "No cache deps on this machine yet" in first
    assert "Saved cache deps: 4 files and folders" in first
    assert "Restored cache deps\nkept" in await ran(server, tmp_path, caching(2, repository, *LOOK))


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
async def test_nothing_is_there_that_was_not_kept_or_not_asked_for(
    server: Coordinator, repository: Path, tmp_path: Path, before: dict[str, Any], now: dict[str, Any]
) -> None:
    log = await ran(server, tmp_path, caching(1, repository, *WRITE, **before), caching(2, repository, *LOOK, **now))
    assert "nothing there" in log


async def test_a_failed_job_keeps_what_it_wants_kept_then(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    failing = caching(1, repository, *WRITE, "exit 1", when="always")
    assert "kept" in await ran(server, tmp_path, failing, caching(2, repository, *LOOK))


async def test_another_key_stands_in_and_keys_hold_variables(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    wanted = caching(2, repository, *LOOK, key="new", fallback_keys=["newer", "of-main"])
    last = caching(3, repository, *LOOK, key="newest") | {"variables": [variable("CACHE_FALLBACK_KEY", "of-main")]}
    named = caching(1, repository, *WRITE, key="of-$BRANCH") | {"variables": [variable("BRANCH", "main")]}
    assert "Restored cache of-main" in await ran(server, tmp_path, named, wanted)
    assert "Restored cache of-main" in await ran(server, tmp_path, last)


async def test_protected_branches_get_nothing_that_others_kept(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    claiming = caching(1, repository, *WRITE) | {"variables": [variable("CI_COMMIT_REF_PROTECTED", "true")]}
    protected = caching(2, repository, *LOOK)
    protected["git_info"]["protected"] = True
    assert "nothing there" in await ran(server, tmp_path, claiming, protected)


async def test_one_mechanism_separates_caches(server: Coordinator, repository: Path, tmp_path: Path) -> None:
    """The keys of a server that says so; the agent's own folders where the server does not."""
    separate = {"features": {"separate_caches": True}}
    first = caching(1, repository, *WRITE, key="1-deps-non_protected") | separate
    same_key = caching(2, repository, *LOOK, project=2, key="1-deps-non_protected") | separate
    assert "Restored cache 1-deps-non_protected\nkept" in await ran(server, tmp_path, first, same_key)
    (kept,) = (tmp_path / "builds" / "cache").glob("*/*")
    older = caching(3, repository, *LOOK, key="1-deps-non_protected")
    assert "nothing there" in await ran(server, tmp_path, older)
    assert "-" not in kept.parent.name


async def test_a_damaged_cache_is_a_warning_and_goes(server: Coordinator, repository: Path, tmp_path: Path) -> None:
    await ran(server, tmp_path, caching(1, repository, *WRITE))
    (kept,) = (tmp_path / "builds" / "cache").glob("*/*")
    kept.write_bytes(b"no zip")
    log = await ran(server, tmp_path, caching(2, repository, *LOOK, policy="pull"))
    assert "WARNING: the cache deps could not be restored" in log
    assert not kept.exists()


async def test_the_oldest_caches_make_room_and_one_that_is_too_large_is_not_kept(
    server: Coordinator, repository: Path, tmp_path: Path
) -> None:
    fill = "mkdir deps; head -c 600000 /dev/urandom > deps/file"
    jobs = [caching(number, repository, fill, key=f"k{number}") for number in (1, 2)]
    large = caching(3, repository, "mkdir deps; head -c 1200000 /dev/urandom > deps/file", key="large")
    log = await ran(server, tmp_path, *jobs, large, cache_megabytes=1)
    assert "WARNING: the cache large could not be saved: it has 1 MiB" in log
    assert len(list((tmp_path / "builds" / "cache").glob("*/*"))) == 1
    looking = caching(4, repository, "ls deps", key="k2", policy="pull")
    assert "Restored cache k2" in await ran(server, tmp_path, looking)


async def test_an_agent_may_keep_nothing(server: Coordinator, repository: Path, tmp_path: Path) -> None:
    jobs = caching(1, repository, *WRITE), caching(2, repository, *LOOK)
    assert "nothing there" in await ran(server, tmp_path, *jobs, cache_megabytes=0)
    assert not (tmp_path / "builds" / "cache").exists()
