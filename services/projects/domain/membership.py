"""The membership aggregate: the projects requested for a developer. A policy then updates the projects."""

from contracts.projects import DeveloperProjectsSet, MembershipCommand, MembershipEvent
from libs.eventstore.decider import Decider


def decide(_project_ids: tuple[int, ...], command: MembershipCommand) -> list[MembershipEvent]:
    """Record the request even if it is unchanged: the projects may have changed since the last request."""
    return [DeveloperProjectsSet.model_validate(dict(command))]


def evolve(_project_ids: tuple[int, ...], event: MembershipEvent) -> tuple[int, ...]:
    return event.projects_id


membership_decider = Decider[MembershipCommand, tuple[int, ...], MembershipEvent](
    commands=(MembershipCommand,),
    stream=lambda command: f"membership-{command.developer_id}",
    initial=(),
    decide=decide,
    evolve=evolve,
)
