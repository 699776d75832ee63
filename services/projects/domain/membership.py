"""The projects that one developer was given: wishes, which the projects then fulfil."""

from contracts.projects import ChooseDeveloperProjects, DeveloperProjectsChosen
from libs.deciding import Decider


def decide(_chosen: tuple[int, ...], command: ChooseDeveloperProjects) -> list[DeveloperProjectsChosen]:
    """Recorded even if it changes nothing: the projects may have changed since the last wish."""
    return [DeveloperProjectsChosen.model_validate(dict(command))]


def evolve(_chosen: tuple[int, ...], event: DeveloperProjectsChosen) -> tuple[int, ...]:
    return event.projects_id


membership_decider = Decider[ChooseDeveloperProjects, tuple[int, ...], DeveloperProjectsChosen](
    commands=(ChooseDeveloperProjects,),
    stream=lambda command: f"membership-{command.developer_id}",
    initial=(),
    decide=decide,
    evolve=evolve,
)
