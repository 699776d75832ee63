"""Which projects a developer belongs to, chosen all at once."""

from contracts.messages import Command, Event, Message, Query
from contracts.projects.fields import Ids


class SetDeveloperProjects(Command, wire_name="ChooseDeveloperProjects"):
    """Replaces all of them; each project that is joined or left records its developers itself."""

    developer_id: int
    projects_id: Ids
    # filled in
    joined: Ids = ()
    left: Ids = ()


class DeveloperProjectsSet(Event, wire_name="DeveloperProjectsChosen"):
    """A wish: who belongs to a project is recorded in the projects' own streams."""

    developer_id: int
    projects_id: tuple[int, ...]
    joined: tuple[int, ...] = ()
    left: tuple[int, ...] = ()


class ListMemberships(Query):
    """The projects of each of these developers."""

    developers_id: tuple[int, ...]


class Memberships(Message):
    projects_id: dict[int, tuple[int, ...]]  # by developer; who belongs to none is left out


MembershipCommand = SetDeveloperProjects
MembershipEvent = DeveloperProjectsSet
