"""What identity said about somebody, kept for a moment, so that a request costs no question in the usual case."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from contracts.errors import Refused

FRESH = 1.0  # seconds: so long a change of a user may go unnoticed
USABLE = 60.0  # seconds: so long the last answer counts while identity is away, where nobody can be disabled either
MOST = 10_000  # remembered answers
AWAY = frozenset({"SERVICE_UNAVAILABLE", "SERVICE_TIMEOUT"})

K = TypeVar("K")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Known(Generic[A]):
    answer: A
    asked_at: float  # when identity was last asked
    confirmed_at: float  # when it was asked and answered


@dataclass(frozen=True, slots=True)
class Denied:
    code: str
    detail: str
    asked_at: float


class Remembered(Generic[K, A]):
    """At most one question a second about each key. Answers and refusals have a place of their own each, so that a
    flood of strangers pushes nobody out.
    """

    def __init__(self, ask: Callable[[K], Awaitable[A]], clock: Callable[[], float]) -> None:
        """`ask` refuses with TOKEN_INVALID whom identity does not know."""
        self._question = ask
        self._clock = clock
        self._known: dict[K, Known[A]] = {}
        self._denied: dict[K, Denied] = {}
        self._asking: dict[K, asyncio.Task[A]] = {}

    async def get(self, key: K) -> A:
        known = self._known.get(key)
        if known and self._clock() - known.asked_at < FRESH:
            return known.answer
        denied = self._denied.get(key)
        if denied and self._clock() - denied.asked_at < FRESH:
            raise Refused(denied.code, denied.detail)
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(self._ask(key))
            asking.add_done_callback(lambda done: self._over(key, done))
        # shielded: the question is everybody's, also when the client that started it goes away
        return await asyncio.shield(asking)

    def _over(self, key: K, done: asyncio.Task[A]) -> None:
        del self._asking[key]
        if not done.cancelled():
            done.exception()  # no news when all who waited for it have gone

    async def _ask(self, key: K) -> A:
        asked_at = self._clock()
        try:
            answer = await self._question(key)
        except Refused as refused:
            known = self._known.pop(key, None)
            if refused.code in AWAY and known and asked_at - known.confirmed_at < USABLE:
                self._known[key] = Known(known.answer, self._clock(), known.confirmed_at)
                return known.answer
            if refused.code == "TOKEN_INVALID":
                _keep(self._denied, key, Denied(refused.code, refused.detail, asked_at))
            raise
        _keep(self._known, key, Known(answer, asked_at, asked_at))
        return answer


V = TypeVar("V")


def _keep(kept: dict[K, V], key: K, value: V) -> None:
    if len(kept) >= MOST:
        kept.clear()
    kept[key] = value
