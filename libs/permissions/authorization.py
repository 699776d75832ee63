"""Authorization of the requests that a service receives over NATS, with one rule per type of message."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from contracts.errors import RequestRejected
from contracts.history import GetActivity, GetCommandReply, ReadEventLog, StreamQuery
from contracts.messages import Message
from libs.permissions.rule import is_unrestricted
from libs.service.declaration import Context, Service

AccessRule = Callable[[Context, Any], Awaitable[None]]


async def allow_all(_ctx: Context, _message: Message) -> None:
    """Allow the message. Its handler checks a token or filters a list, or the message concerns no project."""


async def require_administrator(_ctx: Context, _message: Message) -> None:
    """Reject the message. Rules are not called for administrators."""
    raise RequestRejected("FORBIDDEN", "Only administrators may do this.")


@dataclass(frozen=True)
class Authorization:
    """Checks whether the user of a request may send its message. A message without a rule is rejected.

    Administrators and requests without a user, which come from services and runners, pass without a check.
    """

    rules: Mapping[type[Message], AccessRule]

    async def __call__(self, ctx: Context, message: Message) -> None:
        if not is_unrestricted(ctx.metadata.actor):
            await self.rules.get(type(message), require_administrator)(ctx, message)


async def authorize_request(service: Service, ctx: Context, message: Message) -> None:
    """Raise RequestRejected if the user of the request may not send the message.

    Commands that reactions and workers of the service issue are not requests.
    """
    if isinstance(message, StreamQuery | ReadEventLog | GetActivity):
        if not is_unrestricted(ctx.metadata.actor):
            await require_administrator(ctx, message)
    elif service.authorize and not isinstance(message, GetCommandReply):
        # GetCommandReply needs no rule: its command id is derived from the user, who therefore finds only own commands
        await service.authorize(ctx, message)
