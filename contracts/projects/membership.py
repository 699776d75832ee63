"""Messages about the projects of a developer."""

from typing import ClassVar

from contracts.messages import Command, Event, Message, Query
from contracts.projects.fields import Ids


class SetDeveloperProjects(Command, wire_name="ChooseDeveloperProjects"):
    """Replace the projects of a developer. Each project that the developer joins or leaves records the change, too."""

    former_fields: ClassVar[frozenset[str]] = frozenset({"joined", "left"})

    developer_id: int
    projects_id: Ids


class DeveloperProjectsSet(Event, wire_name="DeveloperProjectsChosen"):
    """The projects of a developer were set. The streams of the projects record the change, too."""

    developer_id: int
    projects_id: tuple[int, ...]
    joined: tuple[int, ...] = ()
    left: tuple[int, ...] = ()


class ListMemberships(Query):
    """List the projects of each of these developers. Answer: Memberships."""

    developers_id: tuple[int, ...]


class Memberships(Message):
    projects_id: dict[int, tuple[int, ...]]  # by developer; developers without projects are left out


MembershipEvent = DeveloperProjectsSet
