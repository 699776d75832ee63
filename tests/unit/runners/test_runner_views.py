"""Read model and views of runners, and the detection of offline runners."""

from datetime import UTC, datetime, timedelta
from functools import reduce

from contracts.runners import (
    RunnerDeleted,
    RunnerEvent,
    RunnerInfo,
    RunnerOffline,
    RunnerOnline,
    RunnerPaused,
    RunnerRegistered,
    RunnerRow,
    RunnerTokenReset,
)
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from services.runners.domain.internal_commands import MarkRunnerOffline
from services.runners.offline_detection import offline_commands
from services.runners.projections import LastContact, runner_category
from services.runners.views import to_profile, to_view

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
OFFLINE_TIMEOUT = timedelta(seconds=90)
registered = RunnerRegistered(
    runner_uuid="u",
    runner_id=3,
    token_hash="h1",
    owner_type="PROJECT",
    owner_id=84,
    name="Gloin",
    tags=("linux",),
    info=RunnerInfo(platform="linux"),
)
online = RunnerOnline(runner_uuid="u", runner_id=3)
offline = RunnerOffline(runner_uuid="u", runner_id=3)


def row_after(*events: RunnerEvent) -> RunnerRow:
    recorded = (RecordedEvent("runner-u", 1, 0, event, CommandMetadata("c", NOW)) for event in events)
    return reduce(runner_category.apply, recorded, runner_category.initial_row)


def test_the_runner_row_follows_the_events() -> None:
    assert row_after(registered).name == "Gloin"
    assert row_after(registered).active
    assert not row_after(registered).online
    assert row_after(registered, online).online
    assert not row_after(registered, online, offline).online
    assert not row_after(registered, RunnerPaused(runner_uuid="u", runner_id=3)).active
    assert row_after(registered, RunnerTokenReset(runner_uuid="u", runner_id=3, token_hash="h2")).token_hash == "h2"


def test_a_deleted_runner_has_no_row() -> None:
    assert not runner_category.is_deleted(row_after(registered))
    assert runner_category.is_deleted(row_after(registered, RunnerDeleted(runner_uuid="u", runner_id=3)))


def test_the_runner_profile_contains_scope_and_tags() -> None:
    runner_view = to_profile(row_after(registered))
    assert (runner_view.runner_id, runner_view.owner_type, runner_view.owner_id, runner_view.tags) == (
        3,
        "PROJECT",
        84,
        ("linux",),
    )


def test_before_the_first_heartbeat_the_registration_is_the_last_contact() -> None:
    runner_view = to_view(row_after(registered), None)
    assert (runner_view.connected_at, runner_view.ip_address, runner_view.info.platform) == (NOW, "", "linux")


def test_the_runner_view_shows_the_last_contact() -> None:
    later = LastContact(NOW + OFFLINE_TIMEOUT, "10.0.0.2", RunnerInfo(platform="darwin"))
    runner_view = to_view(row_after(registered), later)
    assert (runner_view.connected_at, runner_view.ip_address, runner_view.info.platform) == (
        NOW + OFFLINE_TIMEOUT,
        "10.0.0.2",
        "darwin",
    )


def test_a_heartbeat_without_information_keeps_the_registered_information() -> None:
    runner_view = to_view(row_after(registered), LastContact(NOW, "10.0.0.1"))
    assert (runner_view.ip_address, runner_view.info.platform) == ("10.0.0.1", "linux")


def test_a_runner_without_a_recent_heartbeat_goes_offline() -> None:
    row = row_after(registered, online)
    silent = {"u": LastContact(NOW - OFFLINE_TIMEOUT - timedelta(milliseconds=1))}
    assert offline_commands([row], silent, NOW, OFFLINE_TIMEOUT) == [MarkRunnerOffline(runner_uuid="u")]


def test_a_runner_with_a_recent_heartbeat_stays_online() -> None:
    assert (
        offline_commands(
            [row_after(registered, online)], {"u": LastContact(NOW - OFFLINE_TIMEOUT)}, NOW, OFFLINE_TIMEOUT
        )
        == []
    )


def test_an_online_runner_without_any_heartbeat_goes_offline() -> None:
    assert offline_commands([row_after(registered, online)], {}, NOW, OFFLINE_TIMEOUT) == [
        MarkRunnerOffline(runner_uuid="u")
    ]
