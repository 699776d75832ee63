"""The rule that decides who may do what in a project, for one project and as a filter for lists. No I/O.

`companies` are the ids of the companies that the user is a member of.
"""

from collections.abc import Collection, Sequence

from contracts.errors import RequestRejected
from contracts.projects import ProjectAccess, ProjectAction, ProjectRole, Visibility
from libs.documents import Document, Filter
from libs.eventstore.decider import Actor

INTERNAL_ACTIONS = frozenset({ProjectAction.READ, ProjectAction.CANCEL})
"""What all signed-in users may do in an internal project, as Free Commit documents it."""
READER_ACTIONS = frozenset({ProjectAction.READ})
DEVELOPER_ACTIONS = READER_ACTIONS | {ProjectAction.CANCEL, ProjectAction.LAUNCH}
MAINTAINER_ACTIONS = DEVELOPER_ACTIONS | {ProjectAction.MAINTAIN}
ROLE_ACTIONS = {
    ProjectRole.READER: READER_ACTIONS,
    ProjectRole.DEVELOPER: DEVELOPER_ACTIONS,
    ProjectRole.MAINTAINER: MAINTAINER_ACTIONS,
}
ROLE_DENIED = "Your role in this project does not allow this."


def is_unrestricted(actor: Actor) -> bool:
    """Return whether the actor is an administrator, or a runner or the system, whose requests are checked elsewhere."""
    return actor.id == 0 or actor.is_admin


def role_of(access: ProjectAccess, user_id: int) -> ProjectRole | None:
    """Return the user's role as a member. None: not a member; the owner need not be one."""
    if user_id in access.maintainers_id:
        return ProjectRole.MAINTAINER
    if user_id in access.developers_id:
        return ProjectRole.DEVELOPER
    return ProjectRole.READER if user_id in access.readers_id else None


def allows(access: ProjectAccess, actor: Actor, action: ProjectAction, companies: Collection[int] = ()) -> bool:
    """Return whether the actor may perform the action in the project. False for runners and the system."""
    if actor.is_admin:
        return True
    if actor.id == 0:
        return False
    if access.owner_user_id == actor.id or access.company_id in companies:
        return True
    if access.visibility is Visibility.INTERNAL and action in INTERNAL_ACTIONS:
        return True
    role = role_of(access, actor.id)
    return role is not None and action in ROLE_ACTIONS[role]


def require_action(
    access: ProjectAccess | None,
    actor: Actor,
    action: ProjectAction,
    companies: Collection[int],
    not_found: str,
    denied: str = "FORBIDDEN",
) -> None:
    """Raise RequestRejected unless the user may perform the action in the project.

    The code is `not_found` if the user may not see the project or it does not exist (`access` is None), else `denied`.
    Runners and the system are rejected, too: see `is_unrestricted`.
    """
    if access is None or not allows(access, actor, ProjectAction.READ, companies):
        raise RequestRejected(not_found)
    if not allows(access, actor, action, companies):
        raise RequestRejected(denied, ROLE_DENIED if denied == "FORBIDDEN" else "")


def membership_filters(actor: Actor, companies: Collection[int]) -> list[Filter]:
    """Return the filters for projects of which the user is an owner or member; a project matches at least one."""
    members: list[Filter] = [
        {name: actor.id} for name in ("owner_user_id", "readers_id", "developers_id", "maintainers_id")
    ]
    return [*members, {"company_id": {"$in": sorted(companies)}}] if companies else members


def hidden_filter(actor: Actor, companies: Collection[int]) -> Filter:
    """Return the filter for the rows of projects that the user may not see.

    Not for actors for whom `is_unrestricted` is true: it would hide projects from them.
    """
    return {"visibility": Visibility.PRIVATE, "$nor": membership_filters(actor, companies)}


def visible_filter(actor: Actor, companies: Collection[int]) -> Filter:
    """Return the filter for the rows of projects that the user may see.

    Not for actors for whom `is_unrestricted` is true: they see all projects.
    """
    return {"$or": [{"visibility": {"$ne": Visibility.PRIVATE}}, *membership_filters(actor, companies)]}


def without_projects(hidden: Sequence[int]) -> Document:
    """Return the filter for rows without a `project_id` in `hidden`."""
    return {"project_id": {"$nin": list(hidden)}} if hidden else {}
