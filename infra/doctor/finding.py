"""Findings of the doctor, and functions that run checks."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

CHECK_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    what: str
    why: str
    todo: str


Check = Callable[[], AsyncIterator[Finding]]


async def run_check(name: str, check: Check) -> list[Finding]:
    """Return the findings of a check. A failure or timeout of the check becomes a finding too."""
    findings: list[Finding] = []
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            findings += [finding async for finding in check()]
    except TimeoutError:
        findings.append(
            Finding(
                name,
                f"The check took longer than {CHECK_TIMEOUT_SECONDS:g} s.",
                UNKNOWN_CONSEQUENCE,
                "Run `headrace admin doctor` again later.",
            )
        )
    except Exception as error:  # no error may prevent the other checks
        what = f"The check failed ({type(error).__name__})."
        findings.append(
            Finding(
                name,
                what,
                UNKNOWN_CONSEQUENCE,
                "Fix the other findings first, then run `headrace admin doctor` again.",
            )
        )
    return findings


UNKNOWN_CONSEQUENCE = "Problems in this area are not detected."


async def becomes_true(condition: Callable[[], Awaitable[bool]], *, within: float) -> bool:
    """Return whether the condition becomes true in `within` seconds.

    Waiting avoids findings about work in progress.
    """
    deadline = time.monotonic() + within
    while not await condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.2)
    return True
