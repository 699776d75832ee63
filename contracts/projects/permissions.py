"""Who may do what in a project: its visibility, the roles of its members, and what they allow."""

from enum import StrEnum

from pydantic import Field

from contracts.messages import Command, Message, Query, ReadModelRow


class Visibility(StrEnum):
    INTERNAL = "internal"  # all signed-in users may see the project and cancel its builds
    PRIVATE = "private"  # only its members, its owner and administrators may see the project


class ProjectRole(StrEnum):
    """The role of a member. Each role includes the ones before it."""

    READER = "reader"
    DEVELOPER = "developer"
    MAINTAINER = "maintainer"


class ProjectAction(StrEnum):
    """An action on a project, or on something that belongs to it."""

    READ = "read"
    CANCEL = "cancel"
    LAUNCH = "launch"
    MAINTAIN = "maintain"  # change the project's settings, members and secrets, and manage its runners
    OWN = "own"  # move or delete the project, or change its repository or forge


class ProjectAccess(ReadModelRow):
    """The fields of a project that decide who may do what in it. A user is in at most one of the three lists."""

    visibility: Visibility = Visibility.INTERNAL
    owner_user_id: int | None = None  # set if a user owns the project
    company_id: int | None = None  # set if a company owns the project; its members have all rights of the owner
    readers_id: tuple[int, ...] = ()
    developers_id: tuple[int, ...] = ()
    maintainers_id: tuple[int, ...] = ()


class ChangeVisibility(Command):
    """Change who may see a project. Errors: PROJECT_NOT_FOUND, and PROJECT_VISIBILITY_INVALID without a visibility."""

    project_id: int
    visibility: Visibility | None = None


class ChangeBadges(Command):
    """Show the result of a project's last build to clients that are not signed in, or stop showing it.

    Errors: PROJECT_NOT_FOUND.
    """

    project_id: int
    badges: bool | None = None  # None: stop publishing


class SetProjectMember(Command):
    """Add a member to a project, or change the role of a member.

    Errors: PROJECT_NOT_FOUND, DEVELOPER_NOT_FOUND, PROJECT_ROLE_INVALID, PROJECT_MEMBER_LIMIT.
    """

    project_id: int
    user_id: int
    role: ProjectRole | None = None


class RemoveProjectMember(Command):
    """Remove a member from a project. Nothing changes if the user is not a member. Errors: PROJECT_NOT_FOUND."""

    project_id: int
    user_id: int


class ProjectMember(Message):
    user_id: int
    role: ProjectRole = Field(description="`reader`, `developer` or `maintainer`")


class ListProjectMembers(Query):
    """List the members of a project by user id. Its owner need not be a member. Answer: a list of ProjectMember.

    Errors: PROJECT_NOT_FOUND.
    """

    project_id: int
