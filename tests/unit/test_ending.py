"""Ending tasks, also those that swallow a cancellation, also when whoever ends them is ended."""

import asyncio

from libs.ending import end


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
