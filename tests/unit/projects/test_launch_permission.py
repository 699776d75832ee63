import pytest

from libs.eventstore.decider import SYSTEM, Actor
from services.projects.projections import ProjectRow
from services.projects.queries import may_launch

PROJECT = ProjectRow(id=3, developers_id=(7, 8))


@pytest.mark.parametrize(
    ("user", "may"),
    [
        (Actor(7, "dev", ("ROLE_DEVELOPER",)), True),
        (Actor(9, "root", ("ROLE_ADMIN",)), True),
        (Actor(9, "other", ("ROLE_DEVELOPER",)), False),
        (Actor(11, "member", ("ROLE_DEVELOPER",)), True),
        (SYSTEM, False),
    ],
)
def test_administrators_project_developers_and_owners_may_launch(user: Actor, may: bool) -> None:
    assert may_launch(PROJECT, user, (11, 12)) is may
