"""Routes of published results: the badges of a project, and the feed `cc.xml`. They need no token."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Path, Query
from starlette.responses import Response

from contracts.builds import (
    MAX_LISTED_PROJECTS,
    MAX_RECENT_BUILDS,
    BuildCoverage,
    BuildStatus,
    GetBuildCoverage,
    ListedBuild,
    ListRecentBuilds,
    ProjectBuilds,
    RecentBuilds,
)
from contracts.errors import RequestRejected
from contracts.projects import BadgeProject, BadgeProjects, ListBadgeProjects
from gateway.dependencies import Anyone, Bus
from gateway.errors import ANY_ROUTE, errors
from gateway.forwarding.request_bus import RequestBus
from gateway.routers.prefix_router import json_router
from gateway.schemas.console.badge_images import (
    STATUS_TEXTS,
    UNKNOWN,
    PublishedResult,
    draw_coverage_badge,
    draw_status_badge,
    write_feed,
)
from libs.eventstore.decider import Actor

EXAMINED_BUILDS = 10  # number of latest builds per project, of which the newest finished one gives the result
BRANCHES = "refs/heads/"
HEADERS = {"Cache-Control": "public, max-age=60"}  # image proxies of forges ask at most once a minute
SVG, XML = "image/svg+xml", "application/xml"

Owner = Annotated[str, Path(description="username of a user or alias of a company")]
Alias = Annotated[str, Path(description="alias of the project")]
Branch = Annotated[
    str, Query(description="a branch, whose last build is among the 50 latest; default: all", max_length=1024)
]

router = json_router("/api/guest", "Builds")


class SvgResponse(Response):
    media_type = SVG


class XmlResponse(Response):
    media_type = XML


@router.get(
    "/badges/{owner}/{alias}.svg",
    response_class=SvgResponse,
    summary="Get the badge with the result of a project's last build.",
    responses=errors(*ANY_ROUTE, "REQUEST_INVALID"),
)
async def get_badge(owner: Owner, alias: Alias, guest: Anyone, bus: Bus, branch: Branch = "") -> SvgResponse:
    """Return the image `unknown` for projects that publish no badge, have no finished build, or do not exist."""
    builds = await _list_finished(bus, guest, owner, alias, branch)
    return SvgResponse(draw_status_badge(STATUS_TEXTS[builds[0].status] if builds else UNKNOWN), headers=HEADERS)


@router.get(
    "/badges/{owner}/{alias}/coverage.svg",
    response_class=SvgResponse,
    summary="Get the badge with the coverage of a project's last successful build.",
    responses=errors(*ANY_ROUTE, "REQUEST_INVALID"),
)
async def get_coverage_badge(owner: Owner, alias: Alias, guest: Anyone, bus: Bus, branch: Branch = "") -> SvgResponse:
    """Return the image `unknown` if the project publishes no badges or does not exist.

    Likewise if none of its 50 latest finished builds has succeeded, or if the latest success has no coverage.
    """
    builds = await _list_finished(bus, guest, owner, alias, branch)
    passed = next((build for build in builds if build.status is BuildStatus.SUCCESS), None)
    percent = await _load_coverage(bus, guest, passed.id) if passed else None
    return SvgResponse(draw_coverage_badge(percent), headers=HEADERS)


@router.get(
    "/cc.xml",
    response_class=XmlResponse,
    summary="Get the results of the projects that publish them, for CCTray clients.",
    responses=errors(*ANY_ROUTE),
)
async def get_cctray_feed(guest: Anyone, bus: Bus) -> XmlResponse:
    """List at most 100 projects: those with the lowest numbers."""
    results = await _load_results(bus, guest, ListBadgeProjects(limit=MAX_LISTED_PROJECTS))
    return XmlResponse(write_feed(results), headers=HEADERS)


async def _list_finished(bus: RequestBus, guest: Actor, owner: str, alias: str, branch: str) -> Sequence[ListedBuild]:
    """Return the latest finished builds of a project that publishes badges, newest first."""
    query = ListBadgeProjects(owner_alias=owner, alias=alias, limit=1)
    projects = BadgeProjects.model_validate_json(await bus.send(query, guest)).projects
    if not projects:
        return ()
    recent = ListRecentBuilds(projects_id=(projects[0].id,), limit=MAX_RECENT_BUILDS)
    found = RecentBuilds.model_validate_json(await bus.send(recent, guest)).projects
    builds = found[0].builds if found else ()
    return [build for build in builds if build.finished and branch in ("", (build.ref or "").removeprefix(BRANCHES))]


async def _load_coverage(bus: RequestBus, guest: Actor, build_id: int) -> float | None:
    try:
        return BuildCoverage.model_validate_json(await bus.send(GetBuildCoverage(build_id=build_id), guest)).percent
    except RequestRejected as rejected:
        if rejected.code != "BUILD_NOT_FOUND":
            raise
        return None  # the build was deleted in the meantime


async def _load_results(bus: RequestBus, guest: Actor, query: ListBadgeProjects) -> Sequence[PublishedResult]:
    projects = BadgeProjects.model_validate_json(await bus.send(query, guest)).projects
    if not projects:
        return ()
    recent = ListRecentBuilds(projects_id=tuple(project.id for project in projects), limit=EXAMINED_BUILDS)
    found = RecentBuilds.model_validate_json(await bus.send(recent, guest)).projects
    builds = {of_project.project_id: of_project for of_project in found}
    url = bus.state.settings.url
    return [_to_result(project, builds.get(project.id), url) for project in projects]


def _to_result(project: BadgeProject, recent: ProjectBuilds | None, url: str) -> PublishedResult:
    name, web_url = f"{project.owner_alias}/{project.alias}", f"{url}/ui/projects/{project.id}"
    builds = recent.builds if recent else ()
    is_building = any(not build.finished for build in builds)
    last = next((build for build in builds if build.finished), None)
    if last is None:
        return PublishedResult(name, web_url, is_building=is_building)
    finished_at = last.completed_at.isoformat() if last.completed_at else ""
    return PublishedResult(name, web_url, STATUS_TEXTS[last.status], is_building, str(last.local_id), finished_at)
