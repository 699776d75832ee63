"""What people read about runners and registration tokens."""

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
    RunnerProfile,
    RunnerRegistered,
    RunnerRow,
    RunnerShutDown,
    RunnerTokenReset,
    RunnerView,
)
from libs.deciding import Category, Recorded
from services.runners.domain import registration_decider, runner_decider, settings_of


@dataclass(frozen=True, slots=True)
class Sighting:
    """The last contact of a runner, as its presence tells."""

    seen_at: datetime
    ip_address: str = ""
    info: RunnerInfo | None = None


def describe(row: RunnerRow, recorded: Recorded[RunnerEvent]) -> RunnerRow:
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
                **dict(settings_of(event)),
            )
        case RunnerEdited() as event:
            return row.but(**dict(settings_of(event)))
        case RunnerInfoChanged(info=info):
            return row.but(info=info, info_at=recorded.at)
        case RunnerShutDown():
            return row.but(active=False)
        case RunnerOnline():
            return row.but(online=True)
        case RunnerOffline():
            return row.but(online=False)
        case RunnerTokenReset(token_hash=token_hash):
            return row.but(token_hash=token_hash)
        case RunnerDeleted():
            return row.but(deleted=True)
        case _:
            assert_never(recorded.event)


def describe_registration(_row: RegistrationRow, recorded: Recorded[RegistrationEvent]) -> RegistrationRow:
    match recorded.event:
        case RegistrationTokenReset(scope=scope, token_hash=token_hash, token_sealed=sealed):
            return RegistrationRow(scope=scope, token_hash=token_hash, token_sealed=sealed, reset_at=recorded.at)
        case RegistrationTokenWithdrawn():
            return RegistrationRow()


def profile(row: RunnerRow) -> RunnerProfile:
    return RunnerProfile(
        runner_id=row.id,
        runner_uuid=row.uuid,
        owner_type=row.owner_type,
        owner_id=row.owner_id,
        **dict(settings_of(row)),
    )


def view(row: RunnerRow, sighting: Sighting | None) -> RunnerView:
    """The row with its last contact; the registration itself was the first one."""
    return RunnerView(
        id=row.id,
        uuid=row.uuid,
        owner_type=row.owner_type,
        owner_id=row.owner_id,
        online=row.online,
        registered_at=row.registered_at,
        connected_at=sighting.seen_at if sighting else row.registered_at,
        ip_address=(sighting and sighting.ip_address) or row.ip_address,
        info=(sighting and sighting.info) or row.info,
        **dict(settings_of(row)),
    )


runners = Category(
    name="runner",
    decider=runner_decider,
    row=RunnerRow(),
    fold=describe,
    row_version=2,
    indexes=(("token_hash",), ("id",), ("online",), ("owner_type", "owner_id")),
    gone=lambda row: row.deleted,
)

registrations = Category(
    name="registration",
    decider=registration_decider,
    row=RegistrationRow(),
    fold=describe_registration,
    indexes=(("token_hash",),),
    gone=lambda row: not row.token_hash,
)
