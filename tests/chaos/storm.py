"""Many builds, launched while processes die, and what there is to tell about it afterwards."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx

from tests.chaos.audit import Verdict, audit
from tests.chaos.killing import Kill, Killer
from tests.chaos.launches import Launched, Launches
from tests.support.stack import RunningStack, sample_repository

AT_ONCE = 6
LEAST_KILLS = 8
QUICK = {"HEADRACE_JOB_LEASE_SECONDS": "5", "HEADRACE_LONG_POLL_SECONDS": "5", "HEADRACE_TOKEN_SECONDS": "86400"}
LONG = 12  # seconds
WORK = """\
echo "begin $CI_JOB_ID" >> {file}
sleep {seconds}
echo "end $CI_JOB_ID" >> {file}
"""


@dataclass(frozen=True)
class Ground:
    """A stack with two projects on one repository; the builds of the second never run side by side."""

    stack: RunningStack
    replicas: int
    projects: tuple[int, int]
    long: int  # a project whose builds take LONG
    executions: Path  # a line for each time that a job begins or ends
    launched: list[Launched] = field(default_factory=list)  # by all storms on this ground

    @classmethod
    def prepared(cls, stack: RunningStack, replicas: int, folder: Path) -> "Ground":
        executions = folder / "executions"
        quick = WORK.format(file=executions, seconds="0.$(( CI_JOB_ID % 5 ))")
        repository = sample_repository(folder / "repository", {"work": quick})
        projects = stack.project(repository), stack.project(repository, allow_concurrent_execution=False)
        long = sample_repository(folder / "long", {"work": WORK.format(file=executions, seconds=LONG)})
        return cls(stack, replicas, projects, stack.project(long), executions)


@dataclass(frozen=True)
class Trouble:
    make: Callable[[Killer], Coroutine[None, None, None]]
    ends: bool  # by itself


def once(turns: Sequence[Sequence[str]]) -> Trouble:
    return Trouble(lambda killer: killer.run(turns), ends=True)


def again_and_again(turns: Iterable[Sequence[str]]) -> Trouble:
    return Trouble(lambda killer: killer.run(turns), ends=False)


def frozen_leader(service: str, seconds: float) -> Trouble:
    return Trouble(lambda killer: killer.freeze_leader(service, seconds), ends=True)


@dataclass(frozen=True)
class Storm:
    launched: Sequence[Launched]
    kills: Sequence[Kill]
    verdict: Verdict

    def recoveries(self) -> Iterator[tuple[str, float]]:
        """For each kill, how long until a build was over that was asked for after it."""
        for kill in self.kills:
            later = [one.finished - kill.at for one in self.launched if one.finished and one.asked > kill.at]
            if later:
                yield "+".join(kill.kinds), min(later)


async def storm(
    ground: Ground, trouble: Trouble, *, seed: int, builds: int = 50, pauses: tuple[float, float] = (0.3, 5.0)
) -> Storm:
    """At least so many builds; trouble that comes to an end is sat out, other trouble lasts for some kills at least."""
    killer = Killer(ground.stack, seed, pauses)
    async with httpx.AsyncClient(
        base_url=f"{ground.stack.url}/api",
        headers={"Authorization": ground.stack.admin.headers["Authorization"]},
        timeout=10,
        trust_env=False,
    ) as client:
        launches = Launches(client, ground.projects, Random(seed))  # noqa: S311
        async with asyncio.TaskGroup() as group:
            troubling = group.create_task(trouble.make(killer))
            enough = troubling.done if trouble.ends else lambda: len(killer.kills) >= LEAST_KILLS
            await launches.run(builds, AT_ONCE, more=lambda: not enough())
            troubling.cancel()
    await killer.peace()
    ground.launched.extend(launches.done)
    return Storm(launches.done, killer.kills, await audit(ground.stack, ground.launched, ground.executions))


async def outage(ground: Ground, server: str, seconds: float) -> list[str]:
    """A server hangs while one long build runs; what was executed meanwhile, job by job."""
    before = ground.executions.read_text().splitlines() if ground.executions.exists() else []
    stack, killer = ground.stack, Killer(ground.stack, 0)
    executor_id = stack.launch(ground.long)
    stack.running(executor_id)
    await killer.freeze(server, seconds)
    stack.finished(executor_id)
    ground.launched.append(Launched(stack.build_id(executor_id), executor_id, 0, 0, 0))
    return ground.executions.read_text().splitlines()[len(before) :]
