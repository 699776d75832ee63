"""The activity of all services in one list: pages of their logs, merged by time."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from contracts.errors import RequestRejected
from contracts.history import Activity, ActivityEntry, CommitPosition

CURSOR = re.compile(r"(\d{1,15})\.([a-z]{1,20})\.(\d{1,18})\.(.{0,255})", re.ASCII)
RESOLUTION = timedelta(milliseconds=1)  # resolution of times in the log
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, order=True)
class FeedPosition:
    """A position in the list, which is ordered by time, then service, version and id."""

    at: datetime
    service: str
    version: int
    commit_id: str

    @classmethod
    def of(cls, service: str, position: CommitPosition) -> "FeedPosition":
        return cls(position.at, service, position.version, position.commit_id)

    @classmethod
    def parse(cls, cursor: str) -> "FeedPosition":
        """Return the position that a cursor describes. Raises PAGINATION_CURSOR_INVALID."""
        if found := CURSOR.fullmatch(cursor):
            milliseconds, service, version, commit_id = found.groups()
            try:
                return cls(EPOCH + RESOLUTION * int(milliseconds), service, int(version), commit_id)
            except OverflowError:
                pass
        raise RequestRejected("PAGINATION_CURSOR_INVALID")

    def __str__(self) -> str:
        return f"{(self.at - EPOCH) // RESOLUTION}.{self.service}.{self.version}.{self.commit_id}"

    def in_log_of(self, service: str) -> CommitPosition:
        """Return the position in a service's log before which all entries follow this position in the list."""
        if service == self.service:
            return CommitPosition(at=self.at, version=self.version, commit_id=self.commit_id)
        return CommitPosition(at=self.at + RESOLUTION if service < self.service else self.at)


@dataclass(frozen=True)
class FeedPage:
    entries: Sequence[tuple[str, ActivityEntry]]  # with their services, newest first
    next: FeedPosition | None


def merge(answers: Mapping[str, Activity], limit: int) -> FeedPage:
    """Merge the answers of the services. Entries older than the point up to which all have searched are left out."""
    entries = {
        FeedPosition.of(service, entry.position): (service, entry)
        for service, answer in answers.items()
        for entry in answer.entries
    }
    horizon = max(
        (FeedPosition.of(service, answer.reached) for service, answer in answers.items() if answer.reached),
        default=None,
    )
    known = [place for place in sorted(entries, reverse=True) if horizon is None or place >= horizon]
    shown = known[:limit]
    return FeedPage(entries=[entries[place] for place in shown], next=shown[-1] if len(known) > limit else horizon)
