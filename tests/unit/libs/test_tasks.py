"""Cancellation of tasks, including tasks that swallow it and tasks that cancel others."""

import asyncio
import gc
from typing import Any

from libs.tasks import cancel_and_wait, run_until_first_exit


async def stubborn(times: int) -> None:
    """Swallow `times` cancellations, as drivers of databases and message brokers sometimes do."""
    for _ in range(times):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


async def ended_by_two() -> tuple[bool, bool]:
    child = asyncio.create_task(stubborn(2))
    await asyncio.sleep(0)
    inner = asyncio.create_task(cancel_and_wait({child}))
    await asyncio.sleep(0)
    await cancel_and_wait({inner})
    return child.done(), inner.cancelled()


def test_canceling_a_task_that_cancels_others_leaves_no_task_behind() -> None:
    assert asyncio.run(ended_by_two()) == (True, True)


async def fails() -> None:
    raise ValueError("a duty failed")


async def fails_when_ended() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError("on its way out")


async def complaints_of_ending_with_failures() -> list[dict[str, Any]]:
    """Return what asyncio reports about exceptions that were never retrieved."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    duties = asyncio.create_task(
        run_until_first_exit([asyncio.create_task(function()) for function in (fails, fails_when_ended)])
    )
    await asyncio.sleep(0)  # the tasks are awaited
    await asyncio.sleep(0)  # and one has failed before all are canceled
    await cancel_and_wait({duties})
    del duties
    gc.collect()
    return complaints


def test_a_task_that_fails_during_shutdown_is_not_logged_as_an_error() -> None:
    assert asyncio.run(complaints_of_ending_with_failures()) == []
