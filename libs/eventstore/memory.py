"""The event store without a database: the twin that unit tests and the contract suite use."""

from typing import Any

from contracts.errors import RequestRejected
from contracts.messages import ReadModelRow
from libs.eventstore.decider import CommandMetadata, RecordedEvent, Release, Reserve
from libs.eventstore.store import CommitRef, DuplicateCommand, PendingCommit, WrongExpectedVersion


class MemoryEventStore:
    def __init__(self) -> None:
        self._streams: dict[str, list[PendingCommit]] = {}
        self._commands: dict[str, CommitRef] = {}
        self._noops: dict[str, CommitRef] = {}
        self._reservations: dict[str, str] = {}
        self.rows: dict[str, ReadModelRow | None] = {}

    async def append(self, *decisions: PendingCommit) -> None:
        for decision in decisions:
            self._check(decision)
        for decision in decisions:
            self._record(decision)

    def _check(self, commit: PendingCommit) -> None:
        if known := self._commands.get(commit.metadata.command_id):
            raise DuplicateCommand(known)
        if len(self._streams.get(commit.stream, [])) != commit.expected_version:
            raise WrongExpectedVersion(commit.stream)
        for claim in commit.reservations:
            if isinstance(claim, Reserve) and self._reservations.get(claim.key, commit.stream) != commit.stream:
                raise RequestRejected(claim.code)

    def _record(self, commit: PendingCommit) -> None:
        for claim in commit.reservations:
            match claim:
                case Reserve(key=key):
                    self._reservations[key] = commit.stream
                case Release(key=key) if self._reservations.get(key) == commit.stream:
                    del self._reservations[key]
        self._streams.setdefault(commit.stream, []).append(commit)
        cause = commit.metadata
        self._commands[cause.command_id] = CommitRef(commit.stream, commit.version, cause.fingerprint)
        self.rows[commit.stream] = commit.row

    async def read(self, stream: str, *, after: int = 0, until: int | None = None) -> list[RecordedEvent[Any]]:
        return [recorded for one in self._streams.get(stream, [])[after:until] for recorded in one.recorded_events]

    async def find(self, command_id: str) -> CommitRef | None:
        return self._commands.get(command_id)

    async def record_noop(self, stream: str, version: int, metadata: CommandMetadata) -> None:
        if known := self._noops.get(metadata.command_id):
            raise DuplicateCommand(known)
        self._noops[metadata.command_id] = CommitRef(stream, version, metadata.fingerprint)

    async def find_noop(self, command_id: str) -> CommitRef | None:
        return self._noops.get(command_id)
