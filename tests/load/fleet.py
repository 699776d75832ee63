"""A fleet of runners in one process, on a running stack; and what a claim costs in a queue of 100,000 jobs.

Runners speak the protocol and do no work: what is measured is who gets which job, and how soon.
"""

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from infra.local.servers import local_servers
from libs.connections import mongo
from libs.messaging import connect
from libs.settings import Settings
from services.builds.attempts import Attempts
from services.builds.claiming import Claiming
from tests.integration.dispatch_stage import Yard, dispatching, head
from tests.load.cells import percentile
from tests.load.client import Connection

if TYPE_CHECKING:
    from tests.load.bench import Bench

RUNNERS = 50
PACED, PAUSE = 100, 0.05  # builds that are launched one after the other, seconds between them
FLOOD, TRICKLE, SMALL = 100, 5, 4  # builds of one project, then of each of so many others
WITHIN = 120.0  # seconds for all of it
CLAIMS, SHORT, POSSIBLE, IMPOSSIBLE = 100, 10, 10_000, 90_000


@dataclass
class Fleet:
    """What its runners were given."""

    taken: list[tuple[int, int]] = field(default_factory=list)  # job and build, in the order of arrival
    put_off: int = 0  # times that a runner was told to come back later
    at: dict[int, float] = field(default_factory=dict)  # build -> when its job was in hand

    async def runner(self, url: str, token: str) -> None:
        """Ask, take, report, ask again."""
        known = ""
        async with Connection(url) as connection:
            while True:
                reply = await connection.call("POST", "/api/v4/jobs/request", {"token": token, "last_update": known})
                if reply.status == 201:
                    job = reply.json()
                    build = job["job_info"]["pipeline_id"]
                    self.at.setdefault(build, time.perf_counter())
                    self.taken.append((job["id"], build))
                    state = {"token": job["token"], "state": "success"}
                    await connection.call("PUT", f"/api/v4/jobs/{job['id']}", state)
                elif reply.status in (503, 504):
                    self.put_off += 1
                    await asyncio.sleep(0.5)
                elif reply.status != 204:
                    raise RuntimeError(f"a runner was answered {reply}")

    async def have(self, builds: Sequence[int]) -> None:
        async with asyncio.timeout(WITHIN):
            while not self.at.keys() >= set(builds):  # noqa: ASYNC110  nobody tells, so it asks
                await asyncio.sleep(0.02)

    @property
    def twice(self) -> int:
        return sum(count - 1 for count in Counter(job for job, _ in self.taken).values())


@asynccontextmanager
async def fleet_at_work(url: str, registration_token: str) -> AsyncIterator[Fleet]:
    fleet = Fleet()
    async with Connection(url) as office, AsyncExitStack() as leaving, asyncio.TaskGroup() as group:
        tokens = []
        for number in range(RUNNERS):
            body = {"token": registration_token, "description": f"fleet {number}", "run_untagged": True}
            tokens.append((await office.call("POST", "/api/v4/runners", body)).json()["token"])
            leaving.push_async_callback(office.call, "DELETE", "/api/v4/runners", {"token": tokens[-1]})
        runners = [group.create_task(fleet.runner(url, token)) for token in tokens]
        yield fleet
        for one in runners:
            one.cancel()


async def fleet(bench: "Bench", projects: Sequence[int]) -> None:
    """Paced builds for the latency; then a queue that is there before the runners, for the turns."""
    await bench.all_agents(active=False)
    async with bench.connections(bench.stack.url, 1, bench.token) as (user,):
        token = (await user.call("GET", "/api/admin/runners/registration-info")).json()["registrationToken"]
        waits, paced = await _paced(bench.stack.url, token, user, projects)
        behind, flooded = await _flooded(bench.stack.url, token, user, projects)
    await bench.all_agents(active=True)
    p50, p99 = percentile(waits, 0.5), percentile(waits, 0.99)
    bench.note(
        "fleet_dispatch",
        f"POST build to the job in hand, {RUNNERS} runners, {PACED} builds, p50/p99",
        f"{p50:.1f}/{p99:.1f} ms",
        "25/100 ms",
        p50 < 25 and p99 < 100,
        p50=p50,
        p99=p99,
    )
    put_off = paced.put_off + flooded.put_off
    bench.note("fleet_put_off", "  requests answered with 503 or 504", str(put_off), "0", put_off == 0)
    twice = paced.twice + flooded.twice
    bench.note("fleet_twice", "  jobs given out twice", str(twice), "0", twice == 0)
    bench.note(
        "fleet_turns",
        f"  of {FLOOD} builds, still waiting when {SMALL * TRICKLE} later ones of other projects had runners",
        str(behind),
        "",
        None,
        behind=behind,
    )


async def _paced(url: str, token: str, user: Connection, projects: Sequence[int]) -> tuple[list[float], Fleet]:
    launched: dict[int, float] = {}
    async with fleet_at_work(url, token) as runners:
        for project_id in itertools.islice(itertools.cycle(projects), PACED):
            begun = time.perf_counter()
            launched[await _launch(user, project_id)] = begun
            await asyncio.sleep(PAUSE)
        await runners.have(list(launched))
    return [runners.at[build] - begun for build, begun in launched.items()], runners


async def _flooded(url: str, token: str, user: Connection, projects: Sequence[int]) -> tuple[int, Fleet]:
    flood = [await _launch(user, projects[0]) for _ in range(FLOOD)]
    small = [await _launch(user, project_id) for project_id in projects[1 : 1 + SMALL] for _ in range(TRICKLE)]
    async with asyncio.timeout(WITHIN):
        while not await _all_planned(user):  # noqa: ASYNC110  nobody tells, so it asks
            await asyncio.sleep(0.2)
    async with fleet_at_work(url, token) as runners:
        await runners.have([*flood, *small])
    last = max(runners.at[build] for build in small)
    return sum(runners.at[build] > last for build in flood), runners


async def _launch(user: Connection, project_id: int) -> int:
    reply = await user.call("POST", f"/api/developer/builds/{project_id}", {"build": {}})
    return int(reply.json()["build_id"])


async def _all_planned(user: Connection) -> bool:
    queued = (await user.call("GET", "/api/developer/builds/queueds")).json()
    return all(one["reason"].startswith("Waits") for one in queued)


async def long_queue(bench: "Bench", folder: Path) -> None:
    """A claim within the service, with few jobs that wait and with very many, most of them for nobody."""
    logging.getLogger("headrace.runtime").setLevel(logging.ERROR)  # the jobs have no builds, and each would be told of
    with local_servers(folder, unlimited=True) as servers:
        settings = Settings(
            mongodb_url=servers.mongodb_url,
            nats_url=servers.nats_url,
            master_keys=(bytes(32),),
            database_prefix=f"test-{uuid4().hex[:8]}",
        )
        nats = await connect(settings, "bench")
        async with mongo(settings, "bench") as client, dispatching(settings, client, nats) as (yard,):
            numbers = itertools.count(1)
            await _queue(yard, numbers, SHORT)
            short = await _claims(yard, numbers)
            impossible = range(10_000_000, 10_000_000 + IMPOSSIBLE)
            for some in _cut(impossible, 5000):
                await yard.wait(*(head(one, one % 50, tags=[f"no-such-tag-{one % 20}"]) for one in some))
            await _queue(yard, numbers, POSSIBLE - SHORT)
            long = await _claims(yard, numbers)
        await nats.close()
    figures = [percentile(one, share) for one in (short, long) for share in (0.5, 0.99)]
    ratio = figures[2] / figures[0]
    bench.note(
        "claim",
        f"claim with {SHORT} jobs queued, p50/p99; with {POSSIBLE + IMPOSSIBLE:,}, of them {IMPOSSIBLE:,} impossible",
        f"{figures[0]:.1f}/{figures[1]:.1f} ms; {figures[2]:.1f}/{figures[3]:.1f} ms; ratio {ratio:.2f}",
        "1.5",
        ratio < 1.5,
        ratio=ratio,
    )


def _cut(numbers: range, size: int) -> list[range]:
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


async def _queue(yard: Yard, numbers: "itertools.count[int]", many: int) -> None:
    """Of ten projects."""
    for some in _cut(range(many), 200):
        new = list(itertools.islice(numbers, len(some)))
        await asyncio.gather(*(yard.queue(number, project_id=number % 10 + 1) for number in new))


async def _claims(yard: Yard, numbers: "itertools.count[int]") -> list[float]:
    """After each claim another job is queued, so that the queue stays as long as it is."""
    claiming, taken = Claiming(Attempts()), []
    for _ in range(CLAIMS):
        begun = time.perf_counter()
        claim = await yard.claim(claiming)
        taken.append(time.perf_counter() - begun)
        if claim.assignment is None:
            raise RuntimeError("there was nothing to claim")
        await _queue(yard, numbers, 1)
    return taken
