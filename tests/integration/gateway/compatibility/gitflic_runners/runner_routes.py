"""Functions that send requests to GitFlic's runner routes."""

from typing import Any

from tests.support.in_process.build_system import Body, BuildSystem, FakeRunner


def project_runners_path(project: Body) -> str:
    return f"/project/{project['owner_alias']}/{project['alias']}/runners"


def company_runners_path(company: Body) -> str:
    return f"/company/{company['alias']}/runners"


async def get_runner(system: BuildSystem, runner: FakeRunner) -> Body:
    return dict(await system.get(f"/admin/runners/{runner.uuid}"))


async def edit_runner(system: BuildSystem, runner: FakeRunner, **body: Any) -> Body:
    return dict((await system.post(f"/admin/runners/{runner.uuid}/edit", body)).json())


async def request_statuses(system: BuildSystem, headers: dict[str, str], routes: list[tuple[str, str]]) -> list[int]:
    return [(await system.http.request(method, path, headers=headers)).status_code for method, path in routes]


def runner_routes(base: str, uuid: object) -> list[tuple[str, str]]:
    return [
        ("GET", f"{base}/registration-info"),
        ("POST", f"{base}/reset-registration-token"),
        ("GET", base),
        ("GET", f"{base}/{uuid}"),
        ("POST", f"{base}/{uuid}/shutdown"),
        ("POST", f"{base}/{uuid}/edit"),
        ("DELETE", f"{base}/{uuid}"),
    ]
