"""Ending tasks for certain."""

import asyncio
from collections.abc import Iterable
from typing import Any

PATIENCE = 0.2


async def end(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel until all are over: `asyncio.wait_for` of Python 3.11, used by the drivers, may swallow a cancellation.

    Whoever is cancelled here is still waiting for them: a task left behind would go on for ever.
    """
    running = {task for task in tasks if not task.done()}
    told = None
    while running:
        for task in running:
            task.cancel()
        try:
            await asyncio.wait(running, timeout=PATIENCE)
        except asyncio.CancelledError as cancelled:
            told = cancelled
        running = {task for task in running if not task.done()}
    if told:
        raise told


async def first_to_end(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Run until one of the tasks is over, end the others, and raise what ended it."""
    together = list(tasks)
    try:
        await asyncio.wait(together, return_when=asyncio.FIRST_COMPLETED)
    finally:
        done = [task for task in together if task.done()]
        await end(together)
    # look at each: several may have failed at once, or while they were ended
    failures = {task: task.exception() for task in together if not task.cancelled()}
    for task in done:
        if failure := failures.get(task):
            raise failure
