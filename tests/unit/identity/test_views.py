"""What people read about users, and what they do not."""

from datetime import UTC, datetime
from functools import reduce

from contracts.identity import (
    UserDeleted,
    UserDisabled,
    UserEmailChanged,
    UserEvent,
    UserPasswordChanged,
    UserRegistered,
    UserRenamed,
    UserRolesChanged,
)
from contracts.messages import Event
from contracts.projects import ProjectDeleted, ProjectDevelopersChosen, ProjectRenamed
from libs.deciding import Cause, Recorded
from services.identity.views import (
    MembershipRow,
    UserRow,
    describe,
    listed,
    memberships,
    note_members,
    shown,
    user_category,
)

AT = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)

registered = UserRegistered(
    user_id=7,
    user_uuid="u7",
    username="Ivan",
    sealed_password_hash="sealed-1",
    email="I@x.org",
    roles=("ROLE_ADMIN", "ROLE_DEVELOPER"),
)


def recorded(event: Event) -> Recorded[Event]:
    return Recorded("user-7", 1, 0, event, Cause("c1", AT))


def row_after(*events: UserEvent) -> UserRow:
    return reduce(lambda row, event: describe(row, Recorded("user-7", 1, 0, event, Cause("c1", AT))), events, UserRow())


def test_a_row_follows_the_events() -> None:
    row = row_after(
        registered,
        UserRenamed(user_id=7, username="Olga", former_username="Ivan"),
        UserEmailChanged(user_id=7, email=None),
        UserPasswordChanged(user_id=7, sealed_password_hash="sealed-2", epoch=1),
        UserRolesChanged(user_id=7, roles=("ROLE_DEVELOPER",), epoch=2),
        UserDisabled(user_id=7, epoch=3),
    )
    assert row == UserRow(
        id=7,
        uuid="u7",
        username="Olga",
        username_key="olga",
        roles=("ROLE_DEVELOPER",),
        role="ROLE_DEVELOPER",
        epoch=3,
        sealed_password_hash="sealed-2",
        created_at=AT,
    )


def test_a_deleted_user_has_no_row() -> None:
    assert user_category.gone(row_after(registered, UserDeleted(user_id=7, username="Ivan")))


def test_what_is_shown_has_no_trace_of_the_password() -> None:
    row = row_after(registered)
    assert "sealed-1" not in shown(row, (3,)).model_dump_json() + str(listed(row))


def test_an_erased_email_is_no_email() -> None:
    assert row_after(registered.but(email="")).email is None


def test_the_list_shows_the_strongest_role() -> None:
    assert listed(row_after(registered)) == {
        "developer_id": 7,
        "user_username": "Ivan",
        "developer_email": "I@x.org",
        "user_role": "ROLE_ADMIN",
    }


def test_memberships_follow_the_projects() -> None:
    chosen = recorded(ProjectDevelopersChosen(project_id=3, developers_id=(7, 8)))
    gone = recorded(ProjectDeleted(project_id=3))
    row = note_members(MembershipRow(), chosen)
    assert memberships.key(chosen) == "project-3"
    assert row == MembershipRow(project_id=3, developers_id=(7, 8))
    assert note_members(row, gone).developers_id == ()
    assert memberships.key(recorded(ProjectRenamed(project_id=3, name="x"))) is None
