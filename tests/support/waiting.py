"""Functions that wait until a condition holds. On timeout, the message shows the last result of the condition."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar, overload
from uuid import uuid4

import httpx

T = TypeVar("T")
WITHIN_SECONDS = 60.0
UNANSWERED_STATUSES = {503, 504}
FIRST_PAUSE, MAX_PAUSE, GROWTH = 0.01, 0.1, 1.3  # seconds; pauses grow, which saves CPU time


def pauses() -> Iterator[float]:
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(MAX_PAUSE, GROWTH * pause)


def describe(message: str, within: float, seen: object) -> str:
    return f"{message or 'the condition did not hold'} within {within:g} seconds; seen last: {repr(seen)[:2000]}"


@overload
async def eventually(
    condition: Callable[[], Awaitable[T]],
    until: Callable[[T], object] = bool,
    *,
    within: float = ...,
    message: str = "",
) -> T: ...
@overload
async def eventually(
    condition: Callable[[], T], until: Callable[[T], object] = bool, *, within: float = ..., message: str = ""
) -> T: ...
async def eventually(
    condition: Callable[[], Any],
    until: Callable[[Any], object] = bool,
    *,
    within: float = WITHIN_SECONDS,
    message: str = "",
) -> Any:
    """Evaluate `condition` until its result satisfies `until`, and return the result.

    Raises AssertionError after `within` seconds.
    """
    seen: object = "nothing: the first evaluation did not end"
    timeout = asyncio.timeout(within)
    try:
        async with timeout:
            for pause in pauses():
                result = condition()
                found = await result if inspect.isawaitable(result) else result
                if until(found):
                    return found
                seen = found
                await asyncio.sleep(pause)
    except TimeoutError:
        if not timeout.expired():
            raise
        raise AssertionError(describe(message, within, seen)) from None
    raise AssertionError  # unreachable, because `pauses` never ends


async def eventually_equal(
    condition: Callable[[], Awaitable[T]], expected: T, *, within: float = WITHIN_SECONDS, message: str = ""
) -> None:
    await eventually(
        condition, lambda found: found == expected, within=within, message=message or f"it did not become {expected!r}"
    )


def wait_until(
    condition: Callable[[], T], within: float = WITHIN_SECONDS, message: str = "", until: Callable[[T], object] = bool
) -> T:
    """Wait as `eventually` does, outside of an event loop."""
    deadline = time.monotonic() + within
    for pause in pauses():
        found = condition()
        if until(found):
            return found
        assert time.monotonic() < deadline, describe(message, within, found)
        time.sleep(pause)
    raise AssertionError  # unreachable, because `pauses` never ends


async def send_until_answered(send: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """Send a request, which must be safe to repeat, until a service answers it. Return the response.

    On a busy machine, a gateway answers 503 or 504 in place of a service that is late.
    """
    return await eventually(send, lambda response: response.status_code not in UNANSWERED_STATUSES)


async def post_until_answered(
    http: httpx.AsyncClient, path: str, body: Any, headers: Mapping[str, str] | None = None
) -> httpx.Response:
    """Post a JSON body with a key of idempotency, until a service answers. Return the response."""
    headers = {**(headers or {}), "Idempotency-Key": uuid4().hex}
    return await send_until_answered(lambda: http.post(path, json=body, headers=headers))
