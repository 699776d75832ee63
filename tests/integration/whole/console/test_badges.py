"""Badges and the feed `cc.xml`: only projects with badges enabled publish their results."""

from typing import Any
from xml.etree import ElementTree as ET

from tests.integration.whole.console.project_runners import register_project_runner
from tests.support.external.repositories import commit_files
from tests.support.in_process.build_system import Body, BuildSystem


async def get_badge(system: BuildSystem, alias: str, owner: str = "root", branch: str = "") -> str:
    response = await system.http.get(f"/api/guest/badges/{owner}/{alias}.svg", params={"branch": branch})
    assert (response.status_code, response.headers["Content-Type"]) == (200, "image/svg+xml")
    assert response.headers["Cache-Control"] == "public, max-age=60"
    return response.text


async def list_feed(system: BuildSystem) -> dict[str, dict[str, str]]:
    response = await system.http.get("/api/guest/cc.xml")
    assert response.status_code == 200, response.text
    return {project.attrib["name"]: dict(project.attrib) for project in ET.fromstring(response.content)}  # noqa: S314


async def publish(system: BuildSystem, project: Body, *, badges: bool) -> Any:
    path = f"/api/developer/projects/{project['id']}/badges"
    response = await system.http.patch(path, json={"project": {"badges": badges}}, headers=system.admin)
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_project_publishes_its_result_only_while_it_is_switched_on(system: BuildSystem) -> None:
    project = await system.create_project(visibility="private")
    runner = await register_project_runner(system, project)
    build_id = await system.launch_build(project)
    job = await runner.wait_for_job()
    assert (await runner.report(job, "success")).status_code == 200
    await system.wait_until_ended(build_id)
    name = f"root/{project['alias']}"
    unknown = await get_badge(system, "no-such-project")
    assert "unknown" in unknown
    assert await get_badge(system, project["alias"]) == unknown
    assert name not in await list_feed(system)
    assert (await publish(system, project, badges=True))["badges"] is True
    assert "passing" in await get_badge(system, project["alias"])
    published = (await list_feed(system))[name]
    overview = await system.get(f"/api/developer/builds/{build_id}/overview")
    assert (published["lastBuildStatus"], published["activity"]) == ("Success", "Sleeping")
    assert published["lastBuildLabel"] == str(overview["local_id"])
    await system.launch_build(project)
    assert (await list_feed(system))[name]["activity"] == "Building"
    assert (await publish(system, project, badges=False))["badges"] is False
    assert await get_badge(system, project["alias"]) == unknown


async def test_the_coverage_of_a_job_is_read_from_its_log_and_published(system: BuildSystem) -> None:
    pipeline = "unit: {script: make, coverage: '/^TOTAL +([0-9.]+)%/'}\nlint: {script: make}\n"
    commit_files(system.repository, {"coverage/.gitlab-ci.yml": pipeline})
    project = await system.create_project(spec_file_path="/coverage/.gitlab-ci.yml")
    await publish(system, project, badges=True)
    runner = await register_project_runner(system, project)
    build_id = await system.launch_build(project)
    for _ in range(2):
        job = await runner.wait_for_job()
        log = b"TOTAL 12%\nTOTAL 87.5%\nTOTAL\n"
        headers = {"JOB-TOKEN": job["token"], "Content-Range": f"0-{len(log) - 1}"}
        await system.http.patch(f"/api/v4/jobs/{job['id']}/trace", headers=headers, content=log)
        await runner.report(job, "success")
    await system.wait_until_ended(build_id)
    overview = await system.get(f"/api/developer/builds/{build_id}/overview")
    assert overview["coverage"] == 87.5
    assert {job["name"]: job["coverage"] for job in overview["jobs"]} == {"unit": 87.5, "lint": None}
    alias = f"{project['alias']}/coverage"
    assert "87.5 %" in await get_badge(system, alias)
    assert "87.5 %" in await get_badge(system, alias, branch="main")
    assert "unknown" in await get_badge(system, alias, branch="other")
    assert "passing" in await get_badge(system, project["alias"], branch="main")
    assert "unknown" in await get_badge(system, project["alias"], branch="other")
    await publish(system, project, badges=False)
    assert "unknown" in await get_badge(system, alias)
