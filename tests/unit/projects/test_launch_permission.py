"""Users who may launch builds of a project."""

import pytest

from libs.eventstore.decider import SYSTEM, Actor
from services.projects.permissions.access import may_launch
from services.projects.projections import ProjectRow

PROJECT = ProjectRow(id=3, company_id=2, developers_id=(7, 8))


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
