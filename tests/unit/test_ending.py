"""Ending tasks, also those that swallow a cancellation, also when whoever ends them is ended."""

import asyncio
import gc
from typing import Any

from libs.ending import end, first_to_end


async def stubborn(times: int) -> None:
    """The drivers of databases and buses swallow a cancellation now and then."""
    for _ in range(times):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


async def ended_by_two() -> tuple[bool, bool]:
    child = asyncio.create_task(stubborn(2))
    await asyncio.sleep(0)
    inner = asyncio.create_task(end({child}))
    await asyncio.sleep(0)
    await end({inner})
    return child.done(), inner.cancelled()


def test_who_is_cancelled_while_ending_others_leaves_nobody_behind() -> None:
    assert asyncio.run(ended_by_two()) == (True, True)


async def fails() -> None:
    raise ValueError("a duty failed")


async def fails_when_ended() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError("on its way out")


async def complaints_of_ending_with_failures() -> list[dict[str, Any]]:
    """What asyncio says of failures that nobody looked at: it would be an error in the log."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    duties = asyncio.create_task(first_to_end([asyncio.create_task(one()) for one in (fails, fails_when_ended)]))
    await asyncio.sleep(0)  # the duties are awaited
    await asyncio.sleep(0)  # and one has failed by the time that all are told to end
    await end({duties})
    del duties
    gc.collect()
    return complaints


def test_a_duty_that_fails_in_the_moment_of_the_end_is_no_error() -> None:
    assert asyncio.run(complaints_of_ending_with_failures()) == []
