"""Conversion of read-model rows to the views that queries return."""

from contracts.runners import RunnerProfile, RunnerRow, RunnerView
from services.runners.domain.runner import extract_settings
from services.runners.projections import LastContact


def to_profile(row: RunnerRow) -> RunnerProfile:
    return RunnerProfile(
        runner_id=row.id,
        runner_uuid=row.uuid,
        owner_type=row.owner_type,
        owner_id=row.owner_id,
        **dict(extract_settings(row)),
    )


def to_view(row: RunnerRow, last_contact: LastContact | None) -> RunnerView:
    """Return the view of a runner with its last contact. Without a heartbeat, the last contact is the registration."""
    return RunnerView(
        id=row.id,
        uuid=row.uuid,
        owner_type=row.owner_type,
        owner_id=row.owner_id,
        online=row.online,
        registered_at=row.registered_at,
        connected_at=last_contact.seen_at if last_contact else row.registered_at,
        ip_address=(last_contact and last_contact.ip_address) or row.ip_address,
        info=(last_contact and last_contact.info) or row.info,
        **dict(extract_settings(row)),
    )
