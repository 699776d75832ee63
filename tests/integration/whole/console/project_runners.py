"""Runners of one project, so that they get no jobs of other tests."""

from tests.support.in_process.build_system import Body, BuildSystem, FakeRunner


async def register_project_runner(system: BuildSystem, project: Body, **settings: str) -> FakeRunner:
    return await system.register_runner(f"/project/root/{project['alias']}/runners", **settings)
