"""Many builds, launched while processes die, and what there is to tell about it afterwards."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx

from tests.chaos.process_killer import Kill, ProcessKiller
from tests.support.stacks.audit import Verdict, audit_stack
from tests.support.stacks.build_launcher import BuildLauncher, LaunchedBuild
from tests.support.stacks.running_stack import RunningStack, create_sample_repository

CONCURRENT_BUILDS = 6
MIN_KILLS = 8
SHORT_TIMEOUTS = {
    "HEADRACE_JOB_LEASE_SECONDS": "5",
    "HEADRACE_LONG_POLL_SECONDS": "5",
    "HEADRACE_TOKEN_SECONDS": "86400",
}
LONG_BUILD_SECONDS = 12  # seconds
WORK_SCRIPT = """\
echo "begin $CI_JOB_ID" >> {file}
sleep {seconds}
echo "end $CI_JOB_ID" >> {file}
"""


@dataclass(frozen=True)
class ChaosStack:
    """A stack with two projects on one repository; the builds of the second never run side by side."""

    stack: RunningStack
    replicas: int
    projects: tuple[int, int]
    long_project: int  # a project whose builds take LONG
    executions: Path  # a line for each time that a job begins or ends
    launched: list[LaunchedBuild] = field(default_factory=list)  # by all storms on this ground

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
    ends_by_itself: bool  # by itself


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
        """For each kill, how long until a build was over that was asked for after it."""
        for kill in self.kills:
            later = [
                one.finished_at - kill.killed_at
                for one in self.launched
                if one.finished_at and one.requested_at > kill.killed_at
            ]
            if later:
                yield "+".join(kill.kinds), min(later)


async def run_storm(
    ground: ChaosStack, trouble: Disturbance, *, seed: int, builds: int = 50, pauses: tuple[float, float] = (0.3, 5.0)
) -> StormResult:
    """At least so many builds; trouble that comes to an end is sat out, other trouble lasts for some kills at least."""
    killer = ProcessKiller(ground.stack, seed, pauses)
    async with httpx.AsyncClient(
        base_url=f"{ground.stack.url}/api",
        headers={"Authorization": ground.stack.admin.headers["Authorization"]},
        timeout=10,
        trust_env=False,
    ) as client:
        launches = BuildLauncher(client, ground.projects, Random(seed))  # noqa: S311
        async with asyncio.TaskGroup() as group:
            troubling = group.create_task(trouble.start(killer))
            enough = troubling.done if trouble.ends_by_itself else lambda: len(killer.kills) >= MIN_KILLS
            await launches.run(builds, CONCURRENT_BUILDS, keep_going=lambda: not enough())
            troubling.cancel()
    await killer.wait_until_ready()
    ground.launched.extend(launches.launched)
    return StormResult(
        launches.launched, killer.kills, await audit_stack(ground.stack, ground.launched, ground.executions)
    )


async def run_outage(ground: ChaosStack, server: str, seconds: float) -> list[str]:
    """A server hangs while one long build runs; what was executed meanwhile, job by job."""
    before = ground.executions.read_text().splitlines() if ground.executions.exists() else []
    stack, killer = ground.stack, ProcessKiller(ground.stack, 0)
    executor_id = stack.launch_build(ground.long_project)
    stack.wait_until_running(executor_id)
    await killer.freeze(server, seconds)
    stack.wait_until_finished(executor_id)
    ground.launched.append(LaunchedBuild(stack.build_id_of(executor_id), executor_id, 0, 0, 0))
    return ground.executions.read_text().splitlines()[len(before) :]
