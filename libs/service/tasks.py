"""Ending tasks for certain."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

log = logging.getLogger("headrace.ending")

CANCEL_RETRY_SECONDS = 0.2


async def cancel_and_wait(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel until all are over: `asyncio.wait_for` of Python 3.11, used by the drivers, may swallow a cancellation.

    Whoever is cancelled here is still waiting for them: a task left behind would go on for ever. What a task fails of
    on its way out is told of, and is nobody's affair any more.
    """
    ended = {task for task in tasks if not task.done()}
    running, told = ended, None
    while running:
        for task in running:
            task.cancel()
        try:
            await asyncio.wait(running, timeout=CANCEL_RETRY_SECONDS)
        except asyncio.CancelledError as cancelled:
            told = cancelled
        running = {task for task in running if not task.done()}
    for task in ended:
        if failure := _get_failure(task):
            log.warning("a task that was ended met a %s", type(failure).__name__)
    if told:
        raise told


async def run_until_first_exit(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Run until one of the tasks is over, end the others, and raise what ended it."""
    together = list(tasks)
    try:
        await asyncio.wait(together, return_when=asyncio.FIRST_COMPLETED)
    finally:
        # look at each, also when this was cancelled meanwhile: several may have failed at once
        failures = [failure for task in together if task.done() and (failure := _get_failure(task))]
        await cancel_and_wait(together)
    if failures:
        raise failures[0]


def _get_failure(task: "asyncio.Task[Any]") -> BaseException | None:
    return None if task.cancelled() else task.exception()
