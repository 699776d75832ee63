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
VERSIONS = (1, 4, 5, 8)  # versions of a build's stream when it is launched, finished, resumed and finished again

Line = tuple[tuple[int, int], ...]  # builds, with the versions at which they requested the slot


@dataclass(frozen=True)
class GroupModel:
    lines: Mapping[int, Line] = field(default_factory=dict)  # lines by project

    def send(self, command: ConcurrencyGroupCommand) -> tuple["GroupModel", str]:
        line, version = self.lines.get(command.project_id, ()), command.build_version
        present = dict(line).get(command.build_id, 0)
        others = tuple(entry for entry in line if entry[0] != command.build_id)
        match command:
            case RequestConcurrencySlot() if version > present:
                changed = (*others, (command.build_id, version))
            case ReleaseConcurrencySlot() if version >= present:
                changed = others
            case _:
                changed = line
        return GroupModel({**self.lines, command.project_id: changed}), ACCEPTED if changed != line else IGNORED


project_ids, build_ids, versions = st.sampled_from(PROJECT_IDS), st.sampled_from(BUILD_IDS), st.sampled_from(VERSIONS)
builds_in_line = st.runner().flatmap(
    lambda machine: st.sampled_from([build_id for build_id, _ in machine.model.lines.get(7, ())] or BUILD_IDS[:1])
)


class ConcurrencyGroupMachine(DeciderMachine[GroupModel]):
    categories = (concurrency_group_category,)
    commands = st.one_of(
        st.builds(RequestConcurrencySlot, project_ids, build_ids, versions),
        st.builds(RequestConcurrencySlot, project_ids, build_ids, versions),
        st.builds(RequestConcurrencySlot, st.just(7), builds_in_line, versions),
        st.builds(ReleaseConcurrencySlot, st.just(7), builds_in_line, versions),
        seldom(
            st.builds(ReleaseConcurrencySlot, project_ids, build_ids, versions),
            st.builds(ReleaseConcurrencySlot, st.just(7), builds_in_line, versions),
        ),
    )

    def new_model(self) -> GroupModel:
        return GroupModel()

    @invariant()
    def the_first_in_line_has_the_slot_and_the_others_wait_in_order(self) -> None:
        for project_id, line in self.model.lines.items():
            row = self.followed[f"lane-{project_id}"].row if f"lane-{project_id}" in self.followed else None
            if row is None:
                assert not line
                continue
            assert isinstance(row, ConcurrencyGroupRow)
            holder = () if row.holder is None else ((row.holder, row.holder_version),)
            assert (*holder, *zip(row.waiting, row.waiting_versions, strict=True)) == line
            assert holder or not line

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
