"""CPU time of the processes of a stack, which other programs on the machine distort less than the elapsed time."""

from collections.abc import Mapping
from contextlib import suppress

import psutil

from tests.support.stacks.running_stack import RunningStack


def read_cpu_seconds(stack: RunningStack) -> dict[str, float]:
    """Return the CPU seconds used by each process of the stack, including its child processes."""
    seconds: dict[str, float] = {}
    for status in stack.get_status():
        if status["pid"]:
            process = psutil.Process(status["pid"])
            seconds[status["name"]] = sum(
                _read_times(member) for member in (process, *process.children(recursive=True))
            )
    return seconds


def _read_times(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


def cpu_ms_per_item(before: Mapping[str, float], after: Mapping[str, float], count: int) -> dict[str, float]:
    """Return the CPU milliseconds per item that each process used between two readings, largest first."""
    used = {name: (seconds - before.get(name, 0.0)) * 1000 / count for name, seconds in after.items()}
    return dict(sorted(used.items(), key=lambda item: -item[1]))
