"""The membership aggregate: the projects requested for a developer. A policy then updates the projects."""

from contracts.projects import DeveloperProjectsSet, MembershipEvent
from libs.eventstore.decider import Decider
from services.projects.domain.internal_commands import SelectProjects


def decide(_project_ids: tuple[int, ...], command: SelectProjects) -> list[MembershipEvent]:
    """Record the request even if it is unchanged: the projects may have changed since the last request."""
    return [DeveloperProjectsSet(**vars(command))]


def evolve(_project_ids: tuple[int, ...], event: MembershipEvent) -> tuple[int, ...]:
    return event.projects_id


membership_decider = Decider[SelectProjects, tuple[int, ...], MembershipEvent](
    commands=(SelectProjects,),
    stream=lambda command: f"membership-{command.developer_id}",
    initial=(),
    decide=decide,
    evolve=evolve,
)
