"""Cancellation of tasks, also of those that swallow a cancellation or cancel others, and tasks with several callers."""

import asyncio
import gc
from typing import Any

from libs.tasks import SharedTasks, cancel_and_wait, run_until_first_exit


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
    raise ValueError("a task failed")


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


class Fetch:
    """A slow function that returns the number of its run, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.runs = 0
        self.error = error

    async def __call__(self) -> int:
        self.runs += 1
        await asyncio.sleep(0.01)
        if self.error:
            raise self.error
        return self.runs


async def test_concurrent_callers_with_an_equal_key_share_a_task() -> None:
    shared, fetch = SharedTasks[str, int](), Fetch()
    assert await asyncio.gather(*(shared.wait("a", fetch) for _ in range(3)), shared.wait("b", fetch)) == [2, 2, 2, 2]
    assert fetch.runs == 2
    assert await shared.wait("a", fetch) == 3
    assert not shared._running


async def test_a_canceled_caller_does_not_cancel_the_task_of_the_others() -> None:
    shared, fetch = SharedTasks[str, int](), Fetch()
    first, second = (asyncio.create_task(shared.wait("a", fetch)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 1
    assert first.cancelled()


async def test_all_callers_get_the_error_and_the_next_call_starts_a_new_task() -> None:
    shared, fetch = SharedTasks[str, int](), Fetch(ValueError("gone"))
    outcomes = await asyncio.gather(*(shared.wait("a", fetch) for _ in range(2)), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["gone", "gone"]
    fetch.error = None
    assert await shared.wait("a", fetch) == 2


async def test_a_finished_task_is_not_shared_before_its_callbacks_have_run() -> None:
    shared, fetch = SharedTasks[str, int](), Fetch()
    task = shared.start("a", fetch)
    await task
    shared._running["a"] = task  # simulates a finished task whose own callbacks have not run yet
    assert await shared.wait("a", fetch) == 2
