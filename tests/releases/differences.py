"""Deliberate differences between recorded and current responses. All other differences fail the upgrade test."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MISSING = "(gone)"


@dataclass(frozen=True)
class Difference:
    """A member whose value differs between a recorded and a current response."""

    location: str  # path and member: /api/developer/builds/1.status
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.location}: {self.before!r} became {self.now!r}"


@dataclass(frozen=True)
class DeliberateDifference:
    """A pattern of locations. `before` and `now`, if set, are the only values that match."""

    location: str  # regular expression that must match the whole location
    reason: str
    before: Any = ...
    now: Any = ...

    def matches(self, differences: Difference) -> bool:
        return (
            re.fullmatch(self.location, differences.location) is not None
            and self.before in (..., differences.before)
            and self.now in (..., differences.now)
        )


ALLOWED_FAILURE = DeliberateDifference(
    r"/api/admin/runners/.*/jobs\?.*\.status", "GitFlic's status of an allowed failure", "FAILED", "WARNING"
)
# explanations may be reworded: clients depend only on error codes and decisions
REWORDED = (
    DeliberateDifference(r".*\.detail", "error details were reworded"),
    DeliberateDifference(r"/api/admin/(projects/\d+/)?deliveries.*\.reason", "reasons of decisions were reworded"),
)
NAMES = (
    DeliberateDifference(r"/api/admin/history/user/\d+\?.*\.username", "the name of an erased user is erased", now=""),
    DeliberateDifference(
        r"/api/admin/history/build/\d+\?.*\.initiator_name", "events do not contain names of users", now=""
    ),
)
WAIT_REASON = DeliberateDifference(r"/api/developer/builds/queueds\[\d+\]\.reason", "reasons of waiting were reworded")
DELIBERATE_DIFFERENCES: dict[str, Sequence[DeliberateDifference]] = {
    "0.1.0": (ALLOWED_FAILURE, *REWORDED, *NAMES),
    "0.2.0": (
        ALLOWED_FAILURE,
        *REWORDED,
        *NAMES,
        WAIT_REASON,
        DeliberateDifference(
            r"/api/developer/statistics/sum/duration.*\.(duration|data|to|total)",
            "a build that ran on a deleted runner ends at the upgrade, as old as the recording is: in a later month",
        ),
    ),
}


def find_differences(before: Any, now: Any, location: str = "") -> Iterator[Difference]:
    """Yield the members of a recorded response that are missing or different now. New members are allowed."""
    match before, now:
        case dict(), dict():
            for name in before:
                yield from find_differences(before[name], now.get(name, MISSING), f"{location}.{name}")
        case list(), list() if len(before) == len(now):
            for number, (old, other) in enumerate(zip(before, now, strict=True)):
                yield from find_differences(old, other, f"{location}[{number}]")
        case _ if before != now:
            yield Difference(location, before, now)


def list_unexpected(release: str, differences: Sequence[Difference]) -> list[str]:
    """Return the differences that are not deliberate, and the deliberate differences that did not occur."""
    table = DELIBERATE_DIFFERENCES.get(release, ())
    return [
        *(str(difference) for difference in differences if not any(entry.matches(difference) for entry in table)),
        *(
            f"no difference at {entry.location}"
            for entry in table
            if not any(entry.matches(difference) for difference in differences)
        ),
    ]
