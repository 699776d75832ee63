"""The instruments of Headrace, made once per process from its meter."""

from dataclasses import dataclass

from opentelemetry.metrics import Counter, Histogram, Meter
from opentelemetry.metrics import _Gauge as Gauge  # the API's only name for it

SECONDS = [
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
]  # the default buckets are milliseconds


@dataclass(frozen=True)
class Metrics:
    command_seconds: Histogram  # service, command, outcome
    conflicts: Counter  # service
    relay_lag_seconds: Gauge  # service
    follower_lag: Gauge  # service, follower: events not yet applied
    followers_stopped: Gauge  # service, follower: 1 while one waits for a person
    queue_depth: Gauge
    queue_age_seconds: Gauge  # of the oldest waiting job
    runners_online: Gauge
    mails: Counter  # outcome

    @classmethod
    def made_from(cls, meter: Meter) -> "Metrics":
        return cls(
            command_seconds=meter.create_histogram(
                "headrace_command_seconds",
                description="Time from taking a command to its answer",
                explicit_bucket_boundaries_advisory=SECONDS,
            ),
            conflicts=meter.create_counter("headrace_conflicts", description="Decisions that another writer overtook"),
            relay_lag_seconds=meter.create_gauge(
                "headrace_relay_lag_seconds", description="Age of the oldest commit that is not yet published"
            ),
            follower_lag=meter.create_gauge(
                "headrace_follower_lag", description="Events that a follower has not yet applied"
            ),
            followers_stopped=meter.create_gauge(
                "headrace_followers_stopped", description="1 while a follower is stopped by an event it cannot apply"
            ),
            queue_depth=meter.create_gauge("headrace_queue_depth", description="Jobs that wait for a runner"),
            queue_age_seconds=meter.create_gauge(
                "headrace_queue_age_seconds", description="Age of the oldest job that waits for a runner"
            ),
            runners_online=meter.create_gauge("headrace_runners_online", description="Runners seen lately"),
            mails=meter.create_counter("headrace_mails", description="Mails by what became of them"),
        )
