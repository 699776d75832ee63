"""The implementation of Context, and the encoding of answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import to_json
from pymongo.asynchronous.collection import AsyncCollection

from contracts.messages import CommandReply, Message, Query, ReadModelRow
from libs.clock import Clock
from libs.documents import Document
from libs.eventstore.decider import SYSTEM, Actor, AnyCommand, CommandMetadata
from libs.eventstore.repository import CommandResult
from libs.observability.tracing import SpanKind, inject, open_span
from libs.projections.read_model import ReadModel
from libs.reactions.ids import derive_id
from libs.security.envelope_encryption import Encryption
from libs.settings import Settings

if TYPE_CHECKING:
    from libs.service.runtime import Runtime

M = TypeVar("M", bound=Message)
R = TypeVar("R", bound=ReadModelRow)


@dataclass
class ServiceContext:
    """The Context that is passed to a service's functions."""

    runtime: Runtime
    metadata: CommandMetadata
    # rows that the command has just written, by stream
    preloaded: Mapping[str, ReadModelRow] = field(default_factory=dict)
    settings: Settings = field(init=False)
    clock: Clock = field(init=False)
    vault: Encryption = field(init=False)

    def __post_init__(self) -> None:
        self.settings = self.runtime.settings
        self.clock = self.runtime.clock
        self.vault = self.runtime.vault

    def read_model(self, row_type: type[R]) -> ReadModel[R]:
        return self.runtime.read_model(row_type, self.preloaded)

    def collection(self, name: str) -> AsyncCollection[Document]:
        return self.runtime.get_collection(name)

    async def next_id(self, kind: str) -> int:
        return await self.runtime.sequences.next(kind)

    async def derive_token(self, prefix: str) -> str:
        return prefix + await self.vault.mac("tokens", self.metadata.command_id)

    async def get_usernames(self, user_ids: Iterable[int]) -> Mapping[int, str]:
        return await self.runtime.usernames.get(user_ids, self.query)

    def as_system(self) -> ServiceContext:
        return replace(self, metadata=replace(self.metadata, actor=SYSTEM))

    async def query(self, query: Query, answer_type: type[M]) -> M:
        if handler := self.runtime.handlers.get(type(query)):
            encoded = encode_answer(await handler.run(self, query))
        else:
            encoded = await self.runtime.message_client.query(query, actor=self.metadata.actor)
        return answer_type.model_validate_json(encoded)

    async def send(
        self,
        command: AnyCommand,
        *,
        step: str = "",
        actor: Actor | None = None,
        cause: str = "",
        has_new_id: bool = False,
    ) -> CommandReply:
        metadata = replace(
            self.metadata,
            command_id=derive_id(cause or self.metadata.command_id, command.wire_name, step),
            command=command.wire_name,
            at=self.clock.machine_time(),
            actor=self.metadata.actor if actor is None else actor,
            reaction_id="",
            may_be_duplicate=self.metadata.may_be_duplicate and not has_new_id,
        )
        if metadata.traceparent:
            return await self.runtime.send(command, metadata)
        with open_span(f"background {self.metadata.command}", SpanKind.INTERNAL):  # no request: start a trace here
            return await self.runtime.send(command, replace(metadata, traceparent=inject() or ""))


def to_reply(result: CommandResult[ReadModelRow]) -> CommandReply:
    return CommandReply(stream=result.stream, version=result.version, row=result.row.model_dump(mode="json"))


def encode_answer(answer: Any) -> bytes:
    """Encode a handler's answer as JSON. Bytes are passed through."""
    match answer:
        case bytes():
            return answer
        case Message():
            return answer.model_dump_json().encode()
        case _:
            return to_json(answer)
