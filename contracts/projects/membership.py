"""Messages about the projects of a developer."""

from typing import ClassVar

from contracts.messages import Command, Event, Message, Query
from contracts.projects.fields import Ids


class SetDeveloperProjects(Command, wire_name="ChooseDeveloperProjects"):
    """Replace the projects in which a user has the role `developer`. Errors: PROJECT_NOT_FOUND.

    In a listed project, a maintainer or reader becomes a developer. The streams of the projects that the user joins or
    leaves record the change, too.
    """

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
    """List the projects in which each of these users has the role `developer`. Answer: Memberships.

    Projects that the actor may not see are left out.
    """

    developers_id: tuple[int, ...]


class Memberships(Message):
    projects_id: dict[int, tuple[int, ...]]  # by user id; users without projects are left out


MembershipEvent = DeveloperProjectsSet
