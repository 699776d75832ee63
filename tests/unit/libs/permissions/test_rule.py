"""Permissions of each role in an internal and in a private project."""

import pytest

from contracts.errors import RequestRejected
from contracts.projects import ProjectAccess, ProjectAction, Visibility
from libs.eventstore.decider import SYSTEM, Actor
from libs.permissions.rule import allows, require_action

COMPANY = 4
STRANGER, READER, DEVELOPER, MAINTAINER, OWNER = (Actor(number, "x", ("ROLE_DEVELOPER",)) for number in range(10, 15))
ADMINISTRATOR = Actor(16, "root", ("ROLE_ADMIN",))

ACCESS = ProjectAccess(
    owner_user_id=OWNER.id, readers_id=(READER.id,), developers_id=(DEVELOPER.id,), maintainers_id=(MAINTAINER.id,)
)
PRIVATE = ACCESS.replace(visibility=Visibility.PRIVATE)
ALL = set(ProjectAction)
READ, CANCEL, LAUNCH, MAINTAIN = (
    ProjectAction.READ,
    ProjectAction.CANCEL,
    ProjectAction.LAUNCH,
    ProjectAction.MAINTAIN,
)


def allowed_actions(access: ProjectAccess, actor: Actor, *companies: int) -> set[ProjectAction]:
    return {action for action in ProjectAction if allows(access, actor, action, companies)}


@pytest.mark.parametrize(
    ("actor", "internal", "private"),
    [
        (STRANGER, {READ, CANCEL}, set()),
        (READER, {READ, CANCEL}, {READ}),
        (DEVELOPER, {READ, CANCEL, LAUNCH}, {READ, CANCEL, LAUNCH}),
        (MAINTAINER, {READ, CANCEL, LAUNCH, MAINTAIN}, {READ, CANCEL, LAUNCH, MAINTAIN}),
        (OWNER, ALL, ALL),
        (ADMINISTRATOR, ALL, ALL),
        (SYSTEM, set(), set()),
    ],
)
def test_visibility_and_role_decide_what_a_user_may_do(
    actor: Actor, internal: set[ProjectAction], private: set[ProjectAction]
) -> None:
    assert (allowed_actions(ACCESS, actor), allowed_actions(PRIVATE, actor)) == (internal, private)


def test_members_of_the_company_that_owns_a_project_have_the_rights_of_its_owner() -> None:
    access = ProjectAccess(visibility=Visibility.PRIVATE, company_id=COMPANY)
    assert allowed_actions(access, STRANGER, COMPANY) == ALL
    assert allowed_actions(access, STRANGER, COMPANY + 1) == set()


def test_a_project_without_a_company_belongs_to_no_member_of_companies() -> None:
    assert allowed_actions(PRIVATE, STRANGER, COMPANY) == set()


@pytest.mark.parametrize(
    ("access", "actor", "code"),
    [
        (None, OWNER, "JOB_NOT_FOUND"),
        (PRIVATE, STRANGER, "JOB_NOT_FOUND"),
        (PRIVATE, READER, "FORBIDDEN"),
        (ACCESS, STRANGER, "FORBIDDEN"),
    ],
)
def test_an_invisible_project_is_rejected_like_a_missing_one(
    access: ProjectAccess | None, actor: Actor, code: str
) -> None:
    with pytest.raises(RequestRejected, match=code):
        require_action(access, actor, LAUNCH, (), "JOB_NOT_FOUND")
