"""What answers today that it did not answer then, on purpose: whatever else differs fails the test of upgrades."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MISSING = "(gone)"


@dataclass(frozen=True)
class Difference:
    """Where an earlier answer and today's are not the same."""

    place: str  # address and member: /api/developer/builds/1.status
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.place}: {self.before!r} became {self.now!r}"


@dataclass(frozen=True)
class DeliberateDifference:
    """A pattern of places, with the value before and today where one of them is always the same."""

    place: str  # a regular expression for the whole of it
    reason: str
    before: Any = ...
    now: Any = ...

    def matches(self, found: Difference) -> bool:
        return (
            re.fullmatch(self.place, found.place) is not None
            and self.before in (..., found.before)
            and self.now in (..., found.now)
        )


ALLOWED_FAILURE = DeliberateDifference(
    r"/api/admin/runners/.*/jobs\?.*\.status", "GitFlic's status of an allowed failure", "FAILED", "WARNING"
)
DELIBERATE_DIFFERENCES: dict[str, Sequence[DeliberateDifference]] = {
    "0.1.0": (ALLOWED_FAILURE,),
    "0.2.0": (
        ALLOWED_FAILURE,
        DeliberateDifference(
            r"/api/developer/statistics/sum/duration.*\.duration",
            "a build that ran on a deleted runner ends at the upgrade, as old as the recording is",
        ),
    ),
}


def find_differences(before: Any, now: Any, place: str = "") -> Iterator[Difference]:
    """What of an earlier answer is missing or different; more than was there before is no harm."""
    match before, now:
        case dict(), dict():
            for name in before:
                yield from find_differences(before[name], now.get(name, MISSING), f"{place}.{name}")
        case list(), list() if len(before) == len(now):
            for number, (one, other) in enumerate(zip(before, now, strict=True)):
                yield from find_differences(one, other, f"{place}[{number}]")
        case _ if before != now:
            yield Difference(place, before, now)


def list_unexpected(release: str, found: Sequence[Difference]) -> list[str]:
    """Those that are not deliberate, and entries of the table that nothing needs."""
    table = DELIBERATE_DIFFERENCES.get(release, ())
    return [
        *(str(one) for one in found if not any(entry.matches(one) for entry in table)),
        *(f"no difference at {entry.place}" for entry in table if not any(entry.matches(one) for one in found)),
    ]
