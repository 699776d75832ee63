"""The route that plans a build without launching it."""

from typing import Annotated

from fastapi import Security

from contracts.builds import PlanProject
from gateway.dependencies import developer
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import json_router
from gateway.schemas.console.plan_view import BUILD_PLAN, PLAN
from libs.eventstore.decider import Actor

TIMEOUT_SECONDS = 60.0  # long enough to fetch a repository that is not mirrored yet

router = json_router("/api/developer/projects", "Builds")

forward(
    router,
    "POST",
    "/{project_id:id}/plan",
    PlanProject,
    Annotated[Actor, Security(developer, scopes=["BUILD_WRITE"])],
    "Compile the spec file at the newest commit of a branch, and list its jobs or errors. Launches nothing.",
    body=PLAN,
    response=BUILD_PLAN,
    timeout=TIMEOUT_SECONDS,
    errors=("LAUNCH_BUILD_NOT_ALLOWED",),
)
