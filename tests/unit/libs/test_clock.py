"""The database-synchronized clock of a process, with simulated system and server clocks."""

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from libs.clock import MAX_OFFSET_SECONDS, WARNING_INTERVAL_SECONDS, Clock

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@dataclass
class Machine:
    """A simulated machine whose clock is `ahead` seconds ahead of the server's clock."""

    ahead: float = 0.0
    passed: float = 0.0
    round_trip: float = 0.0
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(lambda: self.server_time() + timedelta(seconds=self.ahead), lambda: self.passed)

    def server_time(self) -> datetime:
        return NOON + timedelta(seconds=self.passed)

    async def read(self) -> None:
        async def ask() -> datetime:
            self.passed += self.round_trip / 2
            at = self.server_time()
            self.passed += self.round_trip / 2
            return at

        await self.clock.synchronize(ask)


@pytest.mark.parametrize("ahead", [90.0, -90.0, 0.0])
async def test_the_time_is_taken_from_the_database(ahead: float) -> None:
    machine = Machine(ahead, round_trip=0.5)
    await machine.read()
    assert machine.clock.database_time() == machine.server_time()
    assert machine.clock.offset == pytest.approx(ahead)
    machine.passed += 4.0
    assert machine.clock.database_time() == machine.server_time()


async def test_a_jump_of_the_system_clock_does_not_change_the_time() -> None:
    machine = Machine()
    await machine.read()
    machine.ahead = 3600.0
    assert machine.clock.database_time() == machine.server_time()
    assert machine.clock.find_problem() is None
    await machine.read()
    assert machine.clock.find_problem() == "the clock is 3600.0 s ahead of the database's; synchronize it (NTP)"


async def test_a_slow_clock_reading_does_not_replace_a_fast_one() -> None:
    machine = Machine()
    await machine.read()
    machine.ahead, machine.round_trip = 1.0, 60.0
    await machine.read()
    assert machine.clock.offset == 0.0


@pytest.mark.parametrize(
    ("ahead", "round_trip", "off"),
    [(4.9, 0.0, False), (5.1, 0.0, True), (-5.1, 0.0, True), (5.5, 1.8, False), (-6.0, 1.8, True)],
)
async def test_a_clock_offset_beyond_the_round_trip_time_is_a_problem(
    ahead: float, round_trip: float, off: bool
) -> None:
    machine = Machine(ahead, round_trip=round_trip)
    await machine.read()
    assert (machine.clock.find_problem() is not None) is off


async def test_a_clock_that_is_behind_is_reported_as_behind() -> None:
    machine = Machine(-90.0)
    await machine.read()
    assert machine.clock.find_problem() == "the clock is 90.0 s behind the database's; synchronize it (NTP)"


async def test_a_wrong_clock_is_logged_at_intervals(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(2 * MAX_OFFSET_SECONDS)
    await machine.read()
    with caplog.at_level(logging.WARNING, "headrace.clock"):
        for _ in range(3):
            machine.clock.log_problem()
        assert len(caplog.records) == 1
        machine.passed += WARNING_INTERVAL_SECONDS
        machine.clock.log_problem()
    assert len(caplog.records) == 2
