"""An in-memory event store for unit tests. It passes the same contract tests as the MongoDB store."""

from contracts.errors import RequestRejected
from contracts.messages import ReadModelRow
from libs.eventstore.decider import AnyCategory, AnyEvent, CommandMetadata, Release, RequireOther, Reserve
from libs.eventstore.store import CommitRef, DuplicateCommand, PendingCommit, Snapshot, WrongExpectedVersion


class MemoryEventStore:
    def __init__(self) -> None:
        self._streams: dict[str, list[PendingCommit]] = {}
        self._commands: dict[str, CommitRef] = {}
        self._noops: dict[str, CommitRef] = {}
        self._reservations: dict[str, str] = {}  # name -> stream
        self._documents: set[tuple[str, str]] = set()  # collections and ids
        self.rows: dict[str, ReadModelRow | None] = {}

    async def append(self, *commits: PendingCommit) -> None:
        for commit in commits:
            self._check(commit)
        for commit in commits:
            self._record(commit)

    def _check(self, commit: PendingCommit) -> None:
        if earlier := self._commands.get(commit.metadata.command_id) or self._commands.get(commit.metadata.reaction_id):
            raise DuplicateCommand(earlier)
        if len(self._streams.get(commit.stream, [])) != commit.expected_version:
            raise WrongExpectedVersion(commit.stream)
        for reservation in commit.reservations:
            owner = self._reservations.get(reservation.key, commit.stream)
            if isinstance(reservation, Reserve) and owner != commit.stream:
                raise RequestRejected(reservation.code)
            if isinstance(reservation, RequireOther) and not self._has_other(commit, reservation):
                raise RequestRejected(reservation.code)
        if (new := commit.new_document) and (new.collection, new.document["_id"]) in self._documents:
            raise RequestRejected(new.code)

    def _has_other(self, commit: PendingCommit, required: RequireOther) -> bool:
        others = (row for stream, row in self.rows.items() if stream != commit.stream and row is not None)
        of_category = (row for row in others if isinstance(row, type(commit.category.initial_row)))
        return any(all(getattr(row, name) == value for name, value in required.row.items()) for row in of_category)

    def _record(self, commit: PendingCommit) -> None:
        for reservation in commit.reservations:
            match reservation:
                case Reserve(key=key):
                    self._reservations[key] = commit.stream
                case Release(key=key) if self._reservations.get(key) == commit.stream:
                    del self._reservations[key]
        if new := commit.new_document:
            self._documents.add((new.collection, new.document["_id"]))
        self._streams.setdefault(commit.stream, []).append(commit)
        metadata = commit.metadata
        for id_ in filter(None, (metadata.command_id, metadata.reaction_id)):
            self._commands[id_] = CommitRef(commit.stream, commit.version, metadata.fingerprint)
        self.rows[commit.stream] = commit.row

    async def read(self, stream: str, *, after: int = 0, until: int | None = None) -> list[AnyEvent]:
        commits = self._streams.get(stream, [])[after:until]
        return [recorded for commit in commits for recorded in commit.recorded_events]

    async def read_snapshot(self, _category: AnyCategory, stream: str) -> Snapshot | None:
        row = self.rows.get(stream)
        return None if row is None else Snapshot(len(self._streams[stream]), row)

    async def is_removed(self, _stream: str) -> bool:
        return False

    async def find(self, metadata: CommandMetadata) -> CommitRef | None:
        return self._commands.get(metadata.command_id) or self._commands.get(metadata.reaction_id)

    async def record_noop(self, stream: str, version: int, metadata: CommandMetadata) -> None:
        if earlier := self._noops.get(metadata.command_id):
            raise DuplicateCommand(earlier)
        self._noops[metadata.command_id] = CommitRef(stream, version, metadata.fingerprint)

    async def find_noop(self, command_id: str) -> CommitRef | None:
        return self._noops.get(command_id)
