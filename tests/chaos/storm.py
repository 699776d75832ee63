"""Run many builds while processes are disturbed, then audit the stack."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx

from tests.chaos.process_killer import Kill, ProcessKiller
from tests.support.stacks.audit import audit_stack
from tests.support.stacks.build_launcher import BuildLauncher, LaunchedBuild
from tests.support.stacks.log_consistency import Verdict
from tests.support.stacks.running_stack import RunningStack, create_sample_repository

CONCURRENT_BUILDS = 6
MIN_KILLS = 8
SHORT_TIMEOUTS = {
    "HEADRACE_JOB_LEASE_SECONDS": "5",
    "HEADRACE_LONG_POLL_SECONDS": "5",
    "HEADRACE_TOKEN_SECONDS": "86400",
}
LONG_BUILD_SECONDS = 12  # long enough to outlast an outage
WORK_SCRIPT = """\
echo "begin $CI_JOB_ID" >> {file}
sleep {seconds}
echo "end $CI_JOB_ID" >> {file}
"""


@dataclass(frozen=True)
class ChaosStack:
    """A stack with two projects of short builds and one project of long builds.

    Builds of the second project run one at a time.
    """

    stack: RunningStack
    replicas: int
    projects: tuple[int, int]
    long_project: int  # its builds take LONG_BUILD_SECONDS
    executions: Path  # file with one line for each start and end of a job
    launched: list[LaunchedBuild] = field(default_factory=list)

    @classmethod
    def prepare(cls, stack: RunningStack, replicas: int, folder: Path) -> "ChaosStack":
        executions = folder / "executions"
        quick = WORK_SCRIPT.format(file=executions, seconds="0.$(( CI_JOB_ID % 5 ))")
        repository = create_sample_repository(folder / "repository", {"work": quick})
        projects = stack.create_project(repository), stack.create_project(repository, allow_concurrent_execution=False)
        long = create_sample_repository(
            folder / "long", {"work": WORK_SCRIPT.format(file=executions, seconds=LONG_BUILD_SECONDS)}
        )
        return cls(stack, replicas, projects, stack.create_project(long), executions)


@dataclass(frozen=True)
class Disturbance:
    start: Callable[[ProcessKiller], Coroutine[None, None, None]]
    ends_by_itself: bool  # False: it runs until it is canceled


def kill_once(turns: Sequence[Sequence[str]]) -> Disturbance:
    return Disturbance(lambda killer: killer.run(turns), ends_by_itself=True)


def kill_repeatedly(turns: Iterable[Sequence[str]]) -> Disturbance:
    return Disturbance(lambda killer: killer.run(turns), ends_by_itself=False)


def freeze_leader(service: str, seconds: float) -> Disturbance:
    return Disturbance(lambda killer: killer.freeze_leader(service, seconds), ends_by_itself=True)


@dataclass(frozen=True)
class StormResult:
    launched: Sequence[LaunchedBuild]
    kills: Sequence[Kill]
    verdict: Verdict

    def recoveries(self) -> Iterator[tuple[str, float]]:
        """Yield the kinds of process and the recovery time of each kill.

        The recovery time is the number of seconds from the kill until the first build requested later has finished.
        Kills without such a build are left out.
        """
        for kill in self.kills:
            later = [
                build.finished_at - kill.killed_at
                for build in self.launched
                if build.finished_at and build.requested_at > kill.killed_at
            ]
            if later:
                yield "+".join(kill.kinds), min(later)

    def write_pauses(self) -> Iterator[tuple[str, float]]:
        """Yield the kinds of process and the seconds from each kill to the acknowledgment of a later launch.

        Kills without a later launch are left out.
        """
        for kill in self.kills:
            later = [build.acknowledged_at for build in self.launched if build.requested_at > kill.killed_at]
            if later:
                yield "+".join(kill.kinds), min(later) - kill.killed_at


async def run_storm(
    chaos_stack: ChaosStack,
    disturbance: Disturbance,
    *,
    seed: int,
    builds: int = 50,
    pauses: tuple[float, float] = (0.3, 5.0),
) -> StormResult:
    """Run at least `builds` builds during a disturbance, then audit the stack.

    Builds are launched until the disturbance has ended. A disturbance that does not end by itself is canceled after at
    least MIN_KILLS kills.
    """
    killer = ProcessKiller(chaos_stack.stack, seed, pauses)
    async with httpx.AsyncClient(
        base_url=f"{chaos_stack.stack.url}/api",
        headers={"Authorization": chaos_stack.stack.admin.headers["Authorization"]},
        timeout=10,
    ) as client:
        launches = BuildLauncher(client, chaos_stack.projects, Random(seed))  # noqa: S311
        async with asyncio.TaskGroup() as group:
            disturbance_task = group.create_task(disturbance.start(killer))
            is_enough = disturbance_task.done if disturbance.ends_by_itself else lambda: len(killer.kills) >= MIN_KILLS
            await launches.run(builds, CONCURRENT_BUILDS, keep_going=lambda: not is_enough())
            disturbance_task.cancel()
    await killer.wait_until_ready()
    chaos_stack.launched.extend(launches.launched)
    return StormResult(
        launches.launched,
        killer.kills,
        await audit_stack(chaos_stack.stack, chaos_stack.launched, chaos_stack.executions),
    )


async def run_outage(chaos_stack: ChaosStack, server: str, seconds: float) -> list[str]:
    """Suspend a server during one long build. Return the lines that the build added to the file `executions`."""
    before = chaos_stack.executions.read_text().splitlines() if chaos_stack.executions.exists() else []
    stack, killer = chaos_stack.stack, ProcessKiller(chaos_stack.stack, 0)
    executor_id = stack.launch_build(chaos_stack.long_project)
    stack.wait_until_running(executor_id)
    await killer.freeze(server, seconds)
    stack.wait_until_finished(executor_id)
    chaos_stack.launched.append(LaunchedBuild(stack.build_id_of(executor_id), executor_id, 0, 0, 0))
    return chaos_stack.executions.read_text().splitlines()[len(before) :]
