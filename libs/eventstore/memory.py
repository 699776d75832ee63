"""The event store without a database: the twin that unit tests and the contract suite use."""

from typing import Any

from contracts.errors import Refused
from contracts.messages import Row
from libs.deciding import Cause, Recorded, Release, Take
from libs.eventstore.store import Commit, Conflict, Decision, Repeated


class MemoryStore:
    def __init__(self) -> None:
        self._streams: dict[str, list[Decision]] = {}
        self._commands: dict[str, Commit] = {}
        self._noted: dict[str, Commit] = {}
        self._claims: dict[str, str] = {}
        self.rows: dict[str, Row | None] = {}

    async def append(self, *decisions: Decision) -> None:
        for decision in decisions:
            self._check(decision)
        for decision in decisions:
            self._record(decision)

    def _check(self, decision: Decision) -> None:
        if known := self._commands.get(decision.cause.command_id):
            raise Repeated(known)
        if len(self._streams.get(decision.stream, [])) != decision.expected:
            raise Conflict(decision.stream)
        for claim in decision.claims:
            if isinstance(claim, Take) and self._claims.get(claim.key, decision.stream) != decision.stream:
                raise Refused(claim.code)

    def _record(self, decision: Decision) -> None:
        for claim in decision.claims:
            match claim:
                case Take(key=key):
                    self._claims[key] = decision.stream
                case Release(key=key) if self._claims.get(key) == decision.stream:
                    del self._claims[key]
        self._streams.setdefault(decision.stream, []).append(decision)
        cause = decision.cause
        self._commands[cause.command_id] = Commit(decision.stream, decision.version, cause.fingerprint)
        self.rows[decision.stream] = decision.row

    async def read(self, stream: str, *, after: int = 0, until: int | None = None) -> list[Recorded[Any]]:
        return [recorded for one in self._streams.get(stream, [])[after:until] for recorded in one.recorded]

    async def find(self, command_id: str) -> Commit | None:
        return self._commands.get(command_id)

    async def note(self, stream: str, version: int, cause: Cause) -> None:
        if known := self._noted.get(cause.command_id):
            raise Repeated(known)
        self._noted[cause.command_id] = Commit(stream, version, cause.fingerprint)

    async def noted(self, command_id: str) -> Commit | None:
        return self._noted.get(command_id)
