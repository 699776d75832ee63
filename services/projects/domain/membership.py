"""The projects that one developer was given: wishes, which the projects then fulfil."""

from contracts.projects import DeveloperProjectsSet, MembershipCommand, MembershipEvent
from libs.eventstore.decider import Decider


def decide(_chosen: tuple[int, ...], command: MembershipCommand) -> list[MembershipEvent]:
    """Recorded even if it changes nothing: the projects may have changed since the last wish."""
    return [DeveloperProjectsSet.model_validate(dict(command))]


def evolve(_chosen: tuple[int, ...], event: MembershipEvent) -> tuple[int, ...]:
    return event.projects_id


membership_decider = Decider[MembershipCommand, tuple[int, ...], MembershipEvent](
    commands=(MembershipCommand,),
    stream=lambda command: f"membership-{command.developer_id}",
    initial=(),
    decide=decide,
    evolve=evolve,
)
