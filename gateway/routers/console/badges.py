"""Routes of published results: the badge of a project, and the feed `cc.xml`. They need no token."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from contracts.builds import MAX_LISTED_PROJECTS, ListRecentBuilds, ProjectBuilds, RecentBuilds
from contracts.projects import BadgeProject, BadgeProjects, ListBadgeProjects
from gateway.dependencies import Anyone, Bus
from gateway.errors import ANY_ROUTE, errors
from gateway.forwarding.request_bus import RequestBus
from gateway.routers.prefix_router import json_router
from gateway.schemas.console.badge_images import STATUS_TEXTS, PublishedResult, draw_badge, write_feed
from libs.eventstore.decider import Actor

EXAMINED_BUILDS = 10  # number of latest builds per project, of which the newest finished one gives the result
HEADERS = {"Cache-Control": "public, max-age=60"}  # image proxies of forges ask at most once a minute
SVG, XML = "image/svg+xml", "application/xml"

router = json_router("/api/guest", "Builds")


class SvgResponse(Response):
    media_type = SVG


class XmlResponse(Response):
    media_type = XML


@router.get(
    "/badges/{owner}/{alias}.svg",
    response_class=SvgResponse,
    summary="Get the badge with the result of a project's last build.",
    responses=errors(*ANY_ROUTE),
)
async def get_badge(
    owner: Annotated[str, Path(description="username of a user or alias of a company")],
    alias: Annotated[str, Path(description="alias of the project")],
    guest: Anyone,
    bus: Bus,
) -> SvgResponse:
    """Return the image `unknown` for projects that publish no badge, and for projects that do not exist."""
    results = await _load_results(bus, guest, ListBadgeProjects(owner_alias=owner, alias=alias, limit=1))
    return SvgResponse(draw_badge(results[0].status if results else "unknown"), headers=HEADERS)


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
