"""The metric instruments, created once per process. No label has values per project or per user."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, Observation

# The SDK's default buckets are meant for milliseconds.
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
]
LONG_SECONDS_BUCKETS = [0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600]

Labels = Mapping[str, str]


class SettableGauge:
    """A gauge that keeps its value until it is set or cleared, for example when leadership is lost."""

    def __init__(self) -> None:
        self._values: dict[tuple[tuple[str, str], ...], float | Callable[[], float]] = {}

    @classmethod
    def create(cls, meter: Meter, name: str, description: str) -> "SettableGauge":
        level = cls()
        meter.create_observable_gauge(name, callbacks=[level.observe], description=description)
        return level

    def set(self, value: float | Callable[[], float], labels: Labels) -> None:
        """Set a value, or a function that is called from any thread when the gauge is collected."""
        self._values[tuple(labels.items())] = value

    def clear(self, labels: Labels | None = None) -> None:
        """Clear the value for `labels`, or all values if `labels` is None."""
        if labels is None:
            self._values.clear()
        else:
            self._values.pop(tuple(labels.items()), None)

    def read(self) -> Iterator[tuple[Mapping[str, str], float]]:
        """Yield the labels and the value of each series."""
        for labels, value in list(self._values.items()):
            yield dict(labels), value() if callable(value) else value

    def observe(self, _options: CallbackOptions) -> Iterator[Observation]:
        for labels, value in self.read():
            yield Observation(value, labels)


@dataclass(frozen=True)
class Metrics:
    meter: Meter
    command_seconds: Histogram  # labels: service, command (name of the command or query), outcome
    conflicts: Counter  # label: service
    reactions_refused: Counter  # label: service
    leading: SettableGauge  # label: service
    relay_lag_seconds: SettableGauge  # label: service
    follower_lag: SettableGauge  # labels: service, follower (a subscription); value: events not yet handled
    followers_stopped: SettableGauge  # labels: service, follower (a subscription); value: 1 while an event fails
    events_parked: SettableGauge  # label: service
    stored_bytes: SettableGauge  # labels: service, kind
    disk_free_bytes: SettableGauge  # label: service
    disk_total_bytes: SettableGauge  # label: service
    clock_offset_seconds: SettableGauge  # label: service

    @classmethod
    def create(cls, meter: Meter) -> "Metrics":
        def level(name: str, description: str) -> SettableGauge:
            return SettableGauge.create(meter, name, description)

        return cls(
            meter=meter,
            command_seconds=create_seconds_histogram(
                meter, "headrace_command_seconds", "Time from receiving a command to its reply"
            ),
            conflicts=meter.create_counter("headrace_conflicts", description="Commits that lost to another writer"),
            reactions_refused=meter.create_counter(
                "headrace_reactions_refused",
                description="Commands of reactions that were rejected permanently",
            ),
            leading=level("headrace_leading", "1 while this replica is the leader of its service"),
            relay_lag_seconds=level("headrace_relay_lag_seconds", "Age of the oldest unpublished commit"),
            follower_lag=level("headrace_follower_lag", "Events that a subscription has not yet handled"),
            followers_stopped=level(
                "headrace_followers_stopped", "1 while a subscription is stopped by an event that fails"
            ),
            events_parked=level("headrace_events_parked", "Events whose reaction failed too often"),
            stored_bytes=level("headrace_stored_bytes", "Bytes that a service stores in MongoDB and NATS, by kind"),
            disk_free_bytes=level("headrace_disk_free_bytes", "Free space of the disk of a service's database"),
            disk_total_bytes=level("headrace_disk_total_bytes", "Size of the disk of a service's database"),
            clock_offset_seconds=create_clock_offset_gauge(meter),
        )

    def clear_leader_gauges(self) -> None:
        for level in (
            self.relay_lag_seconds,
            self.follower_lag,
            self.followers_stopped,
            self.events_parked,
            self.stored_bytes,
            self.disk_free_bytes,
            self.disk_total_bytes,
        ):
            level.clear()


def create_clock_offset_gauge(meter: Meter) -> SettableGauge:
    """Create the clock offset gauge, which both services and the gateway export."""
    description = "Seconds by which the host clock is ahead of the database clock; negative: behind"
    return SettableGauge.create(meter, "headrace_clock_offset_seconds", description)


def create_outcome_counter(meter: Meter, name: str, description: str, outcomes: Sequence[str]) -> Counter:
    """Create a counter with the label `outcome`, exported as 0 from the start."""
    counter = meter.create_counter(name, description=description)
    for outcome in outcomes:
        counter.add(0, {"outcome": outcome})
    return counter


def create_seconds_histogram(
    meter: Meter, name: str, description: str, boundaries: Sequence[float] = SECONDS_BUCKETS
) -> Histogram:
    return meter.create_histogram(name, description=description, explicit_bucket_boundaries_advisory=boundaries)
