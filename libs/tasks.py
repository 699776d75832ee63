"""Reliable cancellation of asyncio tasks, and tasks that several callers share."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable, Iterable
from functools import partial
from typing import Any, Generic, TypeVar

log = logging.getLogger("headrace.tasks")

CANCEL_RETRY_SECONDS = 0.2

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SharedTasks(Generic[K, V]):
    """Tasks by key. Callers with an equal key share the task that is running."""

    def __init__(self) -> None:
        self._running: dict[K, asyncio.Task[V]] = {}

    def start(self, key: K, run: Callable[[], Coroutine[Any, Any, V]]) -> "asyncio.Task[V]":
        """Return the running task of the key, or start one."""
        task = self._running.get(key)
        if task is None or task.done():  # a done task stays in `_running` until its callback runs
            task = self._running[key] = start_shared(run())
            task.add_done_callback(partial(self._forget, key))
        return task

    def _forget(self, key: K, done: "asyncio.Task[V]") -> None:
        if self._running.get(key) is done:
            del self._running[key]

    async def wait(self, key: K, run: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """Return the result of the key's task. If this caller is canceled, the others still get it."""
        return await asyncio.shield(self.start(key, run))


def start_shared(coroutine: Coroutine[Any, Any, V]) -> "asyncio.Task[V]":
    """Start a task. Its exception is always retrieved, so that asyncio logs nothing if all callers were canceled."""
    task = asyncio.create_task(coroutine)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


async def cancel_and_wait(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel tasks repeatedly until all have ended, and log their errors.

    `asyncio.wait_for` of Python 3.11, used by the drivers, may swallow a cancellation, so one cancel request may not
    suffice. If the caller is canceled itself, it still waits for the tasks and then re-raises CancelledError.
    """
    ended = {task for task in tasks if not task.done()}
    running, cancellation = ended, None
    while running:
        for task in running:
            task.cancel()
        try:
            await asyncio.wait(running, timeout=CANCEL_RETRY_SECONDS)
        except asyncio.CancelledError as cancelled:
            cancellation = cancelled
        running = {task for task in running if not task.done()}
    for task in ended:
        if failure := _get_failure(task):
            log.warning("canceled task failed with %s", type(failure).__name__)
    if cancellation:
        raise cancellation


async def run_until_first_exit(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Wait until one task ends, cancel the others, and raise the error of a task that failed before that, if any."""
    together = list(tasks)
    try:
        await asyncio.wait(together, return_when=asyncio.FIRST_COMPLETED)
    finally:
        # read every task's error, even when canceled here: several tasks may have failed at the same time
        failures = [failure for task in together if task.done() and (failure := _get_failure(task))]
        await cancel_and_wait(together)
    if failures:
        raise failures[0]


def _get_failure(task: "asyncio.Task[Any]") -> BaseException | None:
    return None if task.cancelled() else task.exception()
