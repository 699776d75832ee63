"""Read models of runners and registration tokens."""

from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from contracts.runners import (
    RegistrationEvent,
    RegistrationRow,
    RegistrationTokenReset,
    RegistrationTokenWithdrawn,
    RunnerDeleted,
    RunnerEdited,
    RunnerEvent,
    RunnerInfo,
    RunnerInfoChanged,
    RunnerOffline,
    RunnerOnline,
    RunnerPaused,
    RunnerRegistered,
    RunnerRow,
    RunnerTokenReset,
)
from libs.eventstore.decider import Category, RecordedEvent
from services.runners.domain.registration import registration_decider
from services.runners.domain.runner import extract_settings, runner_decider


@dataclass(frozen=True, slots=True)
class LastContact:
    """The last contact of a runner, from its heartbeats."""

    seen_at: datetime
    ip_address: str = ""
    info: RunnerInfo | None = None


def apply_runner_event(row: RunnerRow, recorded: RecordedEvent[RunnerEvent]) -> RunnerRow:
    match recorded.event:
        case RunnerRegistered() as event:
            return RunnerRow(
                id=event.runner_id,
                uuid=event.runner_uuid,
                token_hash=event.token_hash,
                owner_type=event.owner_type,
                owner_id=event.owner_id,
                registered_at=recorded.at,
                info=event.info,
                info_at=recorded.at,
                ip_address=event.ip_address,
                **dict(extract_settings(event)),
            )
        case RunnerEdited() as event:
            return row.replace(**dict(extract_settings(event)))
        case RunnerInfoChanged(info=info):
            return row.replace(info=info, info_at=recorded.at)
        case RunnerPaused():
            return row.replace(active=False)
        case RunnerOnline():
            return row.replace(online=True)
        case RunnerOffline():
            return row.replace(online=False)
        case RunnerTokenReset(token_hash=token_hash):
            return row.replace(token_hash=token_hash)
        case RunnerDeleted():
            return row.replace(deleted=True)
        case _:
            assert_never(recorded.event)


def apply_registration_event(_row: RegistrationRow, recorded: RecordedEvent[RegistrationEvent]) -> RegistrationRow:
    match recorded.event:
        case RegistrationTokenReset(scope=scope, token_hash=token_hash, token_sealed=sealed):
            return RegistrationRow(scope=scope, token_hash=token_hash, token_sealed=sealed, reset_at=recorded.at)
        case RegistrationTokenWithdrawn():
            return RegistrationRow()


runner_category = Category(
    name="runner",
    decider=runner_decider,
    initial_row=RunnerRow(),
    apply=apply_runner_event,
    row_version=2,
    indexes=(("token_hash",), ("id",), ("online",), ("owner_type", "owner_id")),
    is_deleted=lambda row: row.deleted,
    is_removable=True,
)


registration_category = Category(
    name="registration",
    decider=registration_decider,
    initial_row=RegistrationRow(),
    apply=apply_registration_event,
    indexes=(("token_hash",),),
    is_deleted=lambda row: not row.token_hash,
)
