"""Cancellation of tasks, including tasks that swallow a cancellation and tasks that cancel other tasks."""

import asyncio
import gc
from typing import Any

from libs.tasks import cancel_and_wait, run_until_first_exit


async def swallow_cancellations(times: int) -> None:
    """Swallow cancellations, as database and message broker drivers sometimes do."""
    for _ in range(times):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


async def cancel_twice() -> tuple[bool, bool]:
    child = asyncio.create_task(swallow_cancellations(2))
    await asyncio.sleep(0)
    inner = asyncio.create_task(cancel_and_wait({child}))
    await asyncio.sleep(0)
    await cancel_and_wait({inner})
    return child.done(), inner.cancelled()


def test_canceling_a_task_that_cancels_others_leaves_no_task_behind() -> None:
    assert asyncio.run(cancel_twice()) == (True, True)


async def fail() -> None:
    raise ValueError("a duty failed")


async def fail_when_canceled() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError("on its way out")


async def collect_unretrieved_errors() -> list[dict[str, Any]]:
    """Run two failing tasks to the end. Return what asyncio reports about exceptions that were never retrieved."""
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))
    runner = asyncio.create_task(
        run_until_first_exit([asyncio.create_task(function()) for function in (fail, fail_when_canceled)])
    )
    await asyncio.sleep(0)  # lets the runner await the tasks
    await asyncio.sleep(0)  # lets one task fail before all are canceled
    await cancel_and_wait({runner})
    del runner
    gc.collect()
    return errors


def test_a_task_that_fails_during_shutdown_is_not_logged_as_an_error() -> None:
    assert asyncio.run(collect_unretrieved_errors()) == []
