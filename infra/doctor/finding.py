"""What the doctor finds: what is wrong, why that matters, and what to do about it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

CHECK_TIMEOUT_SECONDS = 30.0  # seconds for one look


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    what: str
    why: str
    todo: str


Check = Callable[[], AsyncIterator[Finding]]


async def run_check(name: str, check: Check) -> list[Finding]:
    """Everything that a look finds; what cannot be looked at is a finding, too, and never a traceback."""
    found: list[Finding] = []
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            found += [one async for one in check()]
    except TimeoutError:
        found.append(
            Finding(
                name,
                f"This look took longer than {CHECK_TIMEOUT_SECONDS:g} s.",
                UNKNOWN_CONSEQUENCE,
                "Look again later.",
            )
        )
    except Exception as error:  # whatever it is: the other looks are not over
        what = f"This could not be looked at ({type(error).__name__})."
        found.append(Finding(name, what, UNKNOWN_CONSEQUENCE, "Mend what else is told here first, then look again."))
    return found


UNKNOWN_CONSEQUENCE = "Whether all is well there is not known."


async def becomes_true(condition: Callable[[], Awaitable[bool]], *, within: float) -> bool:
    """Whether it comes true in time: what is under way at this moment is no finding."""
    deadline = time.monotonic() + within
    while not await condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.2)
    return True
