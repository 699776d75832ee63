"""The row and the views of a user, and the projects of a user as a member."""

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
from contracts.projects import ProjectDeleted, ProjectDevelopersSet, ProjectRenamed
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from services.identity.projections import (
    MembershipRow,
    UserRow,
    apply_membership_event,
    apply_user_event,
    membership_projection,
    user_category,
)
from services.identity.views import to_summary, to_user_view

AT = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)

registered = UserRegistered(
    user_id=7,
    user_uuid="u7",
    username="Ivan",
    sealed_password_hash="sealed-1",
    email="I@x.org",
    roles=("ROLE_ADMIN", "ROLE_DEVELOPER"),
)


def recorded(event: Event) -> RecordedEvent[Event]:
    return RecordedEvent("user-7", 1, 0, event, CommandMetadata("c1", AT))


def row_after(*events: UserEvent) -> UserRow:
    return reduce(
        lambda row, event: apply_user_event(row, RecordedEvent("user-7", 1, 0, event, CommandMetadata("c1", AT))),
        events,
        UserRow(),
    )


def test_the_user_row_follows_the_events() -> None:
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
    assert user_category.is_deleted(row_after(registered, UserDeleted(user_id=7, username="Ivan")))


def test_user_views_do_not_contain_the_password_hash() -> None:
    row = row_after(registered)
    assert "sealed-1" not in to_user_view(row, (3,)).model_dump_json() + str(to_summary(row))


def test_an_erased_email_address_reads_as_none() -> None:
    assert row_after(registered.replace(email="")).email is None


def test_the_user_list_shows_the_strongest_role() -> None:
    assert to_summary(row_after(registered)) == {
        "developer_id": 7,
        "user_username": "Ivan",
        "developer_email": "I@x.org",
        "user_role": "ROLE_ADMIN",
    }


def test_memberships_follow_project_events() -> None:
    developers_set = recorded(ProjectDevelopersSet(project_id=3, developers_id=(7, 8)))
    project_deleted = recorded(ProjectDeleted(project_id=3))
    row = apply_membership_event(MembershipRow(), developers_set)
    assert membership_projection.row_key(developers_set) == "project-3"
    assert row == MembershipRow(project_id=3, developers_id=(7, 8))
    assert apply_membership_event(row, project_deleted).developers_id == ()
    assert membership_projection.row_key(recorded(ProjectRenamed(project_id=3, name="x"))) is None
