"""Model test of a concurrency group: its builds stand in a line, and the first one runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant

from contracts.builds import ConcurrencyGroupRow, ConcurrencySlotGranted, ConcurrencySlotReleased
from services.builds.domain.concurrency_group import ConcurrencyGroupCommand
from services.builds.domain.internal_commands import ReleaseConcurrencySlot, RequestConcurrencySlot
from services.builds.projections import concurrency_group_category
from tests.support.model_tests.decider_machine import ACCEPTED, IGNORED, DeciderMachine, run_machine, seldom

PROJECT_IDS = (7, 7, 7, 8)  # most commands are about the same project, so that its line grows
BUILD_IDS = tuple(range(1, 9))


@dataclass(frozen=True)
class Line:
    build_ids: tuple[int, ...] = ()
    released_early: frozenset[int] = frozenset()


@dataclass(frozen=True)
class GroupModel:
    lines: Mapping[int, Line] = field(default_factory=dict)  # by project

    def send(self, command: ConcurrencyGroupCommand) -> tuple["GroupModel", str]:
        line, build_id = self.lines.get(command.project_id, Line()), command.build_id
        match command:
            case RequestConcurrencySlot() if build_id in line.build_ids or build_id in line.released_early:
                return self, IGNORED
            case RequestConcurrencySlot():
                changed = Line((*line.build_ids, build_id), line.released_early)
            case _ if build_id in line.build_ids:
                changed = Line(tuple(other for other in line.build_ids if other != build_id), line.released_early)
            case _:
                changed = Line(line.build_ids, line.released_early | {build_id})
        return GroupModel({**self.lines, command.project_id: changed}), ACCEPTED if changed != line else IGNORED


project_ids, build_ids = st.sampled_from(PROJECT_IDS), st.sampled_from(BUILD_IDS)
builds_in_line = st.runner().flatmap(
    lambda machine: st.sampled_from(machine.model.lines.get(7, Line()).build_ids or BUILD_IDS[:1])
)


class ConcurrencyGroupMachine(DeciderMachine[GroupModel]):
    categories = (concurrency_group_category,)
    commands = st.one_of(
        st.builds(RequestConcurrencySlot, project_ids, build_ids),
        st.builds(RequestConcurrencySlot, project_ids, build_ids),
        st.builds(RequestConcurrencySlot, project_ids, build_ids),
        st.builds(ReleaseConcurrencySlot, st.just(7), builds_in_line),
        seldom(
            st.builds(ReleaseConcurrencySlot, project_ids, build_ids),
            st.builds(ReleaseConcurrencySlot, st.just(7), builds_in_line),
        ),
    )

    def new_model(self) -> GroupModel:
        return GroupModel()

    @invariant()
    def the_first_in_line_has_the_slot_and_the_others_wait_in_order(self) -> None:
        for project_id, line in self.model.lines.items():
            row = self.followed[f"lane-{project_id}"].row
            assert isinstance(row, ConcurrencyGroupRow)
            assert (row.holder, row.waiting) == (next(iter(line.build_ids), None), line.build_ids[1:])

    @invariant()
    def one_build_has_the_slot(self) -> None:
        """Read from the events alone: a build gets the slot only after the one before has released it."""
        for project_id in self.model.lines:
            holder: int | None = None
            for event in self.events_of(f"lane-{project_id}"):
                match event:
                    case ConcurrencySlotGranted(build_id=build_id):
                        assert holder is None
                        holder = build_id
                    case ConcurrencySlotReleased(build_id=build_id) if build_id == holder:
                        holder = None


@pytest.mark.timeout(900)  # Hypothesis looks for a shorter failing example for up to five minutes
def test_concurrency_groups_follow_the_model() -> None:
    run_machine(ConcurrencyGroupMachine)
