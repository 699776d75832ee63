"""Steps in containers of Docker and Kubernetes: their environment, and their termination when they are canceled."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from agent.execution.job_log import JobLog
from agent.execution.workspace import Workspace
from agent.executors.errors import ExecutorError
from agent.processes.job_spawner import KILL_DELAY_SECONDS


def step_environment(workspace: Workspace, image: str, extra: Mapping[str, str]) -> dict[str, str]:
    return {**workspace.container_environment, "CI_JOB_IMAGE": image, **extra}


def exited_at_once(image: str) -> str:
    """Return the description of a container whose main process ended before the first step."""
    return (
        f"the container of {image} exited at once: the image needs a shell, and an entrypoint that runs the given "
        'command (`entrypoint: [""]` disables the entrypoint)'
    )


async def run_step(
    step: Coroutine[Any, Any, int],
    log: JobLog,
    terminate: Callable[[], Awaitable[object]],
    kill: Callable[[], Awaitable[object]],
) -> int:
    """Run a step and return its exit status. If canceled, terminate its processes, and kill them after a delay."""
    running = asyncio.create_task(step)
    try:
        return await asyncio.shield(running)
    finally:
        if not running.done():
            await _end(running, log, terminate, kill)


async def _end(
    running: asyncio.Task[int],
    log: JobLog,
    terminate: Callable[[], Awaitable[object]],
    kill: Callable[[], Awaitable[object]],
) -> None:
    try:
        for end_processes in (terminate, kill):
            await end_processes()
            await asyncio.wait([running], timeout=KILL_DELAY_SECONDS)
    except ExecutorError as error:  # the executor's close() removes the container, which ends remaining processes
        log.write_line(f"WARNING: {error}")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
