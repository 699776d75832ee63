"""What people read about runners, and whose silence is too long."""

from datetime import UTC, datetime, timedelta
from functools import reduce

from contracts.runners import (
    MarkRunnerOffline,
    RunnerDeleted,
    RunnerEvent,
    RunnerInfo,
    RunnerOffline,
    RunnerOnline,
    RunnerRegistered,
    RunnerRow,
    RunnerShutDown,
    RunnerTokenReset,
)
from libs.deciding import Cause, Recorded
from services.runners.policies import on_silence
from services.runners.views import Sighting, profile, runners, view

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
PATIENCE = timedelta(seconds=90)
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
    recorded = (Recorded("runner-u", 1, 0, event, Cause("c", NOW)) for event in events)
    return reduce(runners.fold, recorded, runners.row)


def test_the_row_follows_the_runner() -> None:
    assert row_after(registered).name == "Gloin"
    assert row_after(registered).active
    assert not row_after(registered).online
    assert row_after(registered, online).online
    assert not row_after(registered, online, offline).online
    assert not row_after(registered, RunnerShutDown(runner_uuid="u", runner_id=3)).active
    assert row_after(registered, RunnerTokenReset(runner_uuid="u", runner_id=3, token_hash="h2")).token_hash == "h2"


def test_a_deleted_runner_is_gone() -> None:
    assert not runners.gone(row_after(registered))
    assert runners.gone(row_after(registered, RunnerDeleted(runner_uuid="u", runner_id=3)))


def test_the_profile_says_which_jobs_the_runner_may_take() -> None:
    shown = profile(row_after(registered))
    assert (shown.runner_id, shown.owner_type, shown.owner_id, shown.tags) == (3, "PROJECT", 84, ("linux",))


def test_before_the_first_call_the_registration_is_the_last_contact() -> None:
    shown = view(row_after(registered), None)
    assert (shown.connected_at, shown.ip_address, shown.info.platform) == (NOW, "", "linux")


def test_the_last_contact_is_shown() -> None:
    later = Sighting(NOW + PATIENCE, "10.0.0.2", RunnerInfo(platform="darwin"))
    shown = view(row_after(registered), later)
    assert (shown.connected_at, shown.ip_address, shown.info.platform) == (NOW + PATIENCE, "10.0.0.2", "darwin")


def test_a_contact_that_says_nothing_new_keeps_what_the_registration_said() -> None:
    shown = view(row_after(registered), Sighting(NOW, "10.0.0.1"))
    assert (shown.ip_address, shown.info.platform) == ("10.0.0.1", "linux")


def test_a_runner_is_offline_when_it_was_silent_for_too_long() -> None:
    row = row_after(registered, online)
    silent = {"u": Sighting(NOW - PATIENCE - timedelta(milliseconds=1))}
    assert on_silence([row], silent, NOW, PATIENCE) == [MarkRunnerOffline(runner_uuid="u")]


def test_a_runner_that_called_in_time_stays_online() -> None:
    assert on_silence([row_after(registered, online)], {"u": Sighting(NOW - PATIENCE)}, NOW, PATIENCE) == []


def test_an_online_runner_that_nobody_saw_is_offline() -> None:
    assert on_silence([row_after(registered, online)], {}, NOW, PATIENCE) == [MarkRunnerOffline(runner_uuid="u")]
