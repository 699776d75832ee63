"""Decider of a project's concurrency group: one build holds its slot, the others wait in order of their requests.

Only projects that forbid concurrent builds have a concurrency group. In the names of streams and on the wire, it has
its former name `lane`.

Commands may arrive late and in any order. A build that was resumed requests the slot again. Its commands have a higher
`build_version`, the version of the build's stream, so that a late release cannot end a newer request. A request that
arrives after its build has finished is granted like others: the planner then returns the slot.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import assert_never

from contracts.builds import (
    ConcurrencyGroupEvent,
    ConcurrencySlotGranted,
    ConcurrencySlotReleased,
    ConcurrencySlotRequested,
)
from libs.eventstore.decider import Decider
from services.builds.domain.internal_commands import ReleaseConcurrencySlot, RequestConcurrencySlot

ConcurrencyGroupCommand = RequestConcurrencySlot | ReleaseConcurrencySlot


@dataclass(frozen=True, slots=True)
class SlotRequest:
    """A build's request for the slot. `build_version`: version of the build's stream at its launch or resumption."""

    build_id: int
    build_version: int = 0  # 0: unknown


@dataclass(frozen=True, slots=True)
class ConcurrencyGroup:
    """The build that may run now, and the builds that wait. Each build occurs once, with its last request."""

    holder: SlotRequest | None = None
    waiting: tuple[SlotRequest, ...] = ()

    def find(self, build_id: int) -> SlotRequest | None:
        requests = self.waiting if self.holder is None else (self.holder, *self.waiting)
        return next((request for request in requests if request.build_id == build_id), None)


def decide(group: ConcurrencyGroup, command: ConcurrencyGroupCommand) -> Sequence[ConcurrencyGroupEvent]:
    present = group.find(command.build_id)
    match command:
        case RequestConcurrencySlot() if present is None:
            return [_request(group, command)]
        case RequestConcurrencySlot() if present is not None and command.build_version > present.build_version:
            # the build was resumed before the release of its last round arrived
            released = list(_release(group, command))
            return [*released, _request(reduce(evolve, released, group), command)]
        case ReleaseConcurrencySlot() if present is not None and command.build_version >= present.build_version:
            return list(_release(group, command))
        case _:
            return []


def _request(group: ConcurrencyGroup, command: RequestConcurrencySlot) -> ConcurrencyGroupEvent:
    event = ConcurrencySlotGranted if group.holder is None else ConcurrencySlotRequested
    return event(project_id=command.project_id, build_id=command.build_id, build_version=command.build_version)


def _release(group: ConcurrencyGroup, command: ConcurrencyGroupCommand) -> Iterator[ConcurrencyGroupEvent]:
    yield ConcurrencySlotReleased(project_id=command.project_id, build_id=command.build_id)
    if group.holder is not None and group.holder.build_id == command.build_id:
        for following in group.waiting[:1]:
            yield ConcurrencySlotGranted(
                project_id=command.project_id, build_id=following.build_id, build_version=following.build_version
            )


def evolve(group: ConcurrencyGroup, event: ConcurrencyGroupEvent) -> ConcurrencyGroup:
    others = tuple(request for request in group.waiting if request.build_id != event.build_id)
    match event:
        case ConcurrencySlotRequested(build_id=build_id, build_version=version):
            return replace(group, waiting=(*others, SlotRequest(build_id, version)))
        case ConcurrencySlotGranted(build_id=build_id, build_version=version):
            return ConcurrencyGroup(SlotRequest(build_id, version), others)
        case ConcurrencySlotReleased(build_id=build_id):
            is_holder = group.holder is not None and group.holder.build_id == build_id
            return ConcurrencyGroup(None if is_holder else group.holder, others)
        case _:
            assert_never(event)


concurrency_group_decider = Decider[ConcurrencyGroupCommand, ConcurrencyGroup, ConcurrencyGroupEvent](
    commands=(RequestConcurrencySlot, ReleaseConcurrencySlot),
    stream=lambda command: f"lane-{command.project_id}",
    initial=ConcurrencyGroup(),
    decide=decide,
    evolve=evolve,
)
