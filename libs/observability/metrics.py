"""The instruments of Headrace, made once per process from its meter. No label ever has a value per project or user."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, Observation

SECONDS_BUCKETS = [
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
]  # the SDK's own are milliseconds
LONG_SECONDS_BUCKETS = [0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600]

Labels = Mapping[str, str]


class SettableGauge:
    """A value that stands until it is set anew or withdrawn: what was measured while leading goes with the lead."""

    def __init__(self) -> None:
        self._values: dict[tuple[tuple[str, str], ...], float | Callable[[], float]] = {}

    @classmethod
    def create(cls, meter: Meter, name: str, description: str) -> "SettableGauge":
        level = cls()
        meter.create_observable_gauge(name, callbacks=[level.observe], description=description)
        return level

    def set(self, value: float | Callable[[], float], labels: Labels) -> None:
        """A function is asked whenever somebody looks, from any thread."""
        self._values[tuple(labels.items())] = value

    def clear(self, labels: Labels | None = None) -> None:
        """One value, or all."""
        if labels is None:
            self._values.clear()
        else:
            self._values.pop(tuple(labels.items()), None)

    def observe(self, _options: CallbackOptions) -> Iterator[Observation]:
        for labels, value in list(self._values.items()):
            yield Observation(value() if callable(value) else value, dict(labels))


@dataclass(frozen=True)
class Metrics:
    meter: Meter
    command_seconds: Histogram  # service, command, outcome
    conflicts: Counter  # service
    reactions_refused: Counter  # service
    leading: SettableGauge  # service
    relay_lag_seconds: SettableGauge  # service
    follower_lag: SettableGauge  # service, follower: events not yet applied
    followers_stopped: SettableGauge  # service, follower: 1 while one waits for a person
    clock_offset_seconds: SettableGauge  # service: how far the machine's clock is ahead of the database's

    @classmethod
    def create(cls, meter: Meter) -> "Metrics":
        def level(name: str, description: str) -> SettableGauge:
            return SettableGauge.create(meter, name, description)

        return cls(
            meter=meter,
            command_seconds=create_seconds_histogram(
                meter, "headrace_command_seconds", "Time from taking a command to its answer"
            ),
            conflicts=meter.create_counter("headrace_conflicts", description="Decisions that another writer overtook"),
            reactions_refused=meter.create_counter(
                "headrace_reactions_refused",
                description="Commands of reactions that were refused for good: what follows is missing",
            ),
            leading=level("headrace_leading", "1 while this replica does what one does for all: relay, followers"),
            relay_lag_seconds=level("headrace_relay_lag_seconds", "Age of the oldest commit that is not yet published"),
            follower_lag=level("headrace_follower_lag", "Events that a follower has not yet applied"),
            followers_stopped=level(
                "headrace_followers_stopped", "1 while a follower is stopped by an event it cannot apply"
            ),
            clock_offset_seconds=create_clock_offset_gauge(meter),
        )

    def clear_leader_gauges(self) -> None:
        """What only a leader knows is no longer ours to tell."""
        for level in (self.relay_lag_seconds, self.follower_lag, self.followers_stopped):
            level.clear()


def create_clock_offset_gauge(meter: Meter) -> SettableGauge:
    """Of services, and of the gateway, which has no other instrument with them in common."""
    description = "Seconds by which the clock of the process is ahead of the database's; negative: behind"
    return SettableGauge.create(meter, "headrace_clock_offset_seconds", description)


def create_seconds_histogram(
    meter: Meter, name: str, description: str, boundaries: list[Any] = SECONDS_BUCKETS
) -> Histogram:
    return meter.create_histogram(name, description=description, explicit_bucket_boundaries_advisory=boundaries)
