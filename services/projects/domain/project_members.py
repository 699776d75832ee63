"""The members of a project: three lists, one per role. A user is in one of them at most."""

from collections.abc import Callable

from contracts.projects import (
    ProjectCreated,
    ProjectDevelopersSet,
    ProjectEvent,
    ProjectRole,
    ProjectSettingsChanged,
    RemoveProjectMember,
    SetProjectDevelopers,
    SetProjectMember,
)
from libs.eventstore.decider import RequestRejected
from libs.normalization import sort_unique
from services.projects.domain.internal_commands import AddDeveloper, RemoveDeveloper

MAX_MEMBERS = 1000  # members with the same role
LISTS = {
    ProjectRole.READER: "readers_id",
    ProjectRole.DEVELOPER: "developers_id",
    ProjectRole.MAINTAINER: "maintainers_id",
}

MembershipCommand = SetProjectMember | RemoveProjectMember | SetProjectDevelopers | AddDeveloper | RemoveDeveloper
Members = dict[str, tuple[int, ...]]  # ids of users, by list


def make_membership_events(settings: ProjectCreated, command: MembershipCommand) -> list[ProjectEvent]:
    """Return the events that change the lists of members.

    Without a change there are none, except for AddDeveloper and RemoveDeveloper. Raises RequestRejected with
    PROJECT_ROLE_INVALID or PROJECT_MEMBER_LIMIT.
    """
    members: Members = {name: getattr(settings, name) for name in LISTS.values()}
    match command:
        case SetProjectMember(role=None):
            raise RequestRejected("PROJECT_ROLE_INVALID")
        case SetProjectMember(user_id=user_id, role=ProjectRole() as role):
            changed = _without(members, lambda other: other == user_id)
            changed[LISTS[role]] = sort_unique((*changed[LISTS[role]], user_id))
            if len(changed[LISTS[role]]) > MAX_MEMBERS:
                raise RequestRejected("PROJECT_MEMBER_LIMIT")
        case RemoveProjectMember(user_id=user_id) | RemoveDeveloper(developer_id=user_id):
            changed = _without(members, lambda other: other == user_id)
        case AddDeveloper(developer_id=user_id):
            changed = _without(members, lambda other: other == user_id)
            changed["developers_id"] = sort_unique((*changed["developers_id"], user_id))
        case SetProjectDevelopers(developers_id=ids):
            changed = _without(members, lambda other: other in ids)
            changed["developers_id"] = sort_unique(ids)
    # recorded even without a change, so that a late duplicate of the command is recognized
    is_follow_up = isinstance(command, AddDeveloper | RemoveDeveloper)
    events: list[ProjectEvent] = []
    if is_follow_up or changed["developers_id"] != members["developers_id"]:
        events.append(ProjectDevelopersSet(project_id=settings.project_id, developers_id=changed.pop("developers_id")))
    others = {name: ids for name, ids in changed.items() if ids != members[name]}
    if others:
        events.append(ProjectSettingsChanged.model_validate({"project_id": settings.project_id, **others}))
    return events


def _without(members: Members, is_removed: Callable[[int], bool]) -> Members:
    return {name: tuple(other for other in ids if not is_removed(other)) for name, ids in members.items()}
