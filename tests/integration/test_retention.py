"""Which builds stay, and what is left of those that do not: with builds and projects on real servers."""

from collections.abc import AsyncIterator

import pytest

from contracts.builds import (
    DeleteBuild,
    GetBuild,
    GetJob,
    ListQueued,
    ListRunning,
    QueueBuild,
    ReadLog,
)
from contracts.projects import ChangeRetention, DeleteProject
from services.builds import views
from tests.integration.builds_stage import Site, building_site, eventually
from tests.support.repositories import sample_repository
from tests.support.servers import Servers

NONE: list[int] = []


@pytest.fixture(scope="module")
async def site(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    repository = sample_repository(folder / "repository", {"build": "make", "@b": "make"})
    async with building_site(servers, folder, repository) as site:
        yield site


async def traces(site: Site, build_id: int) -> tuple[int, int]:
    """Attempts of a build, and rows of its jobs."""
    jobs = {f"job_v{views.job.row_version}.build_id": build_id}
    return await site.count("attempts", {"build_id": build_id}), await site.count("streams", jobs)


async def test_only_the_newest_builds_stay(site: Site) -> None:
    project_id = await site.project(keep_number_build=2)
    first, second, third = [await site.run(project_id) for _ in range(3)]
    await eventually(lambda: site.kept(project_id), [second, third])
    assert await site.refusal(GetBuild(build_id=first)) == "BUILD_NOT_FOUND"
    assert await site.refusal(ReadLog(build_id=first, step="-1")) == "BUILD_NOT_FOUND"


async def test_what_a_deleted_build_left_goes_too_and_the_log_of_events_stays(site: Site) -> None:
    project_id = await site.project(keep_number_build=0)
    build_id = await site.run(project_id, b"nobody reads this\n")
    await eventually(lambda: traces(site, build_id), (0, 0))
    await eventually(lambda: site.kept(project_id), NONE)
    assert await site.count("commits", {"stream": f"build-{build_id}"}) > 0


async def test_a_new_number_counts_from_the_next_build_that_ends(site: Site) -> None:
    project_id = await site.project(keep_number_build=None)
    await site.run(project_id)
    second = await site.run(project_id)
    await site.tell(ChangeRetention(project_id=project_id, keep_number_build=2))
    assert len(await site.kept(project_id)) == 2
    third = await site.run(project_id)
    await eventually(lambda: site.kept(project_id), [second, third])


async def test_the_number_is_that_of_the_end_not_that_of_the_launch(site: Site) -> None:
    project_id = await site.project(keep_number_build=0)
    build_id = await site.launch(project_id)
    job = await site.claim()
    await site.tell(ChangeRetention(project_id=project_id, keep_number_build=None))
    await site.report(job, "success")
    await site.ended(build_id)
    after = await site.run(await site.project(keep_number_build=0))
    await eventually(lambda: traces(site, after), (0, 0))  # whoever ended first was looked at first
    assert await site.kept(project_id) == [build_id]


async def test_a_build_that_cannot_be_planned_takes_no_others_place(site: Site) -> None:
    project_id = await site.project(keep_number_build=1)
    good = await site.run(project_id)
    bad = await site.launch(project_id, sha="0" * 40)
    await site.ended(bad)
    after = await site.run(await site.project(keep_number_build=0))
    await eventually(lambda: traces(site, after), (0, 0))
    assert await site.kept(project_id) == [good, bad]
    newest = await site.run(project_id)
    await eventually(lambda: site.kept(project_id), [newest])


async def test_an_administrator_deletes_what_is_over(site: Site) -> None:
    project_id = await site.project()
    first, second = [await site.run(project_id) for _ in range(2)]
    waiting = await site.launch(project_id)
    assert await site.refusal(DeleteBuild(build_id=waiting)) == "BUILD_STATUS"
    await site.tell(DeleteBuild(build_id=second))
    assert await site.kept(project_id) == [first]
    assert await site.refusal(DeleteBuild(build_id=second)) == "BUILD_NOT_FOUND"
    assert await site.refusal(DeleteBuild(build_id=10**9)) == "BUILD_NOT_FOUND"
    await site.report(await site.claim(), "success")
    await eventually(lambda: traces(site, second), (0, 0))


async def unfinished(site: Site) -> bytes:
    return await site.caller.ask(ListQueued()) + await site.caller.ask(ListRunning())


@pytest.mark.parametrize("concurrent", [True, False])
async def test_a_deleted_project_takes_all_its_builds_along(site: Site, concurrent: bool) -> None:
    project_id = await site.project(allow_concurrent_execution=concurrent)
    over = await site.run(project_id)
    running = await site.launch(project_id)
    job = await site.claim()
    await site.append(job, 0, b"half a log")
    waiting = [await site.launch(project_id) for _ in range(2)]
    await site.tell(DeleteProject(project_id=project_id))
    await eventually(lambda: unfinished(site), b"[][]")
    await eventually(lambda: site.kept(project_id), NONE)
    for build_id in (over, running, *waiting):
        await eventually(lambda: traces(site, build_id), (0, 0))  # noqa: B023
    assert await site.refusal(GetJob(job_id=job.job_id)) == "JOB_NOT_FOUND"
    assert await site.refusal(QueueBuild(project_id=project_id)) == "PROJECT_NOT_FOUND"
