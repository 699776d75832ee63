"""The route of the fleet: the runners with their current jobs."""

import asyncio
from typing import Annotated

from fastapi import Security

from contracts.builds import MAX_FLEET_SIZE, GetFleet
from contracts.messages import Page
from contracts.runners import ListRunners, RunnerView
from gateway.dependencies import Bus, developer
from gateway.errors import READ_ERRORS, errors
from gateway.routers.prefix_router import json_router
from gateway.schemas.console.fleet_view import FleetView
from libs.eventstore.decider import SYSTEM, Actor

router = json_router("/api/developer/fleet", "Runners")


@router.get(
    "",
    summary="List the runners that the user may see, with their current jobs.",
    responses=errors(*READ_ERRORS),
)
async def get_fleet(user: Annotated[Actor, Security(developer, scopes=["BUILD_READ"])], bus: Bus) -> FleetView:
    """Combine the builds service's view of the runners and their jobs with the details of the runners service."""
    fleet, listed = await asyncio.gather(
        bus.send(GetFleet(), user), bus.send(ListRunners(limit=MAX_FLEET_SIZE), SYSTEM)
    )
    reports = {runner.uuid: runner for runner in map(RunnerView.model_validate, Page.model_validate_json(listed).rows)}
    view = FleetView.model_validate_json(fleet)
    runners = []
    for runner in view.runners:
        report = reports.get(runner.uuid)
        seen = {"contacted_at": report.connected_at.isoformat()} if report else {}
        reported = report.info.model_dump(include={"platform", "architecture", "version"}) if report else {}
        runners.append(runner.model_copy(update={**reported, **seen}))
    return view.model_copy(update={"runners": tuple(runners)})
