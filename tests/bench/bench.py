"""`make bench`: measure the embedded stack on this machine, print a table and write bench-results.json.

Both values of a ratio are measured in the same run, because the speed of a machine changes over time.
"""

import asyncio
import itertools
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import uvloop
from pymongo import AsyncMongoClient
from rich.console import Console
from rich.table import Table

from libs.eventstore.mapping import from_document
from libs.projections.rebuild import rebuild_rows
from libs.service.connections import CODEC_OPTIONS
from services.builds.projections import job_category as job_category
from tests.bench.cells import LoopResult, closed_loop, percentile
from tests.bench.client import Connection
from tests.bench.cpu import cpu_ms_per_item, read_cpu_seconds
from tests.bench.fleet import measure_fleet, measure_long_queue
from tests.bench.recorder import Bench
from tests.support.stacks.running_stack import RunningStack, create_sample_repository, running_stack

DISPATCHED_BUILDS = 200


NO_OP_BUILDS = 120


LOOP_SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))


RESULTS_FILE = Path("bench-results.json")


async def measure_dispatch(bench: Bench, project_id: int) -> None:
    """Measure the times from the launch of a build until a waiting runner has its job and until the build finishes."""
    await bench.set_agents_active(active=False)
    in_hand: list[float] = []
    finished: list[float] = []
    async with (
        bench.open_connections(bench.stack.url, 1, bench.token) as (user,),
        Connection(bench.stack.url) as runner,
    ):
        info = (await user.request("GET", "/api/admin/runners/registration-info")).json()
        registration = {"token": info["registrationToken"], "description": "bench", "run_untagged": True}
        token = (await runner.request("POST", "/api/v4/runners", registration)).json()["token"]
        for _ in range(DISPATCHED_BUILDS):
            polling = asyncio.create_task(runner.request("POST", "/api/v4/jobs/request", {"token": token, "info": {}}))
            await asyncio.sleep(0.03)  # by then the runner's request has reached the gateway
            started = time.perf_counter()
            await user.request("POST", f"/api/developer/builds/{project_id}", {"build": {}})
            job = (await polling).json()
            in_hand.append(time.perf_counter() - started)
            state = {"token": job["token"], "state": "success"}
            await runner.request("PUT", f"/api/v4/jobs/{job['id']}", state)
            finished.append(time.perf_counter() - started)
        await runner.request("DELETE", "/api/v4/runners", {"token": token})
    await bench.set_agents_active(active=True)
    p50, p99 = percentile(in_hand, 0.5), percentile(in_hand, 0.99)
    bench.record(
        "dispatch",
        f"POST build to the job in hand, {DISPATCHED_BUILDS} builds, p50/p99",
        f"{p50:.1f}/{p99:.1f} ms",
        "25/100 ms",
        p50 < 25 and p99 < 100,
        p50=p50,
        p99=p99,
    )
    end50, end99 = percentile(finished, 0.5), percentile(finished, 0.99)
    bench.record(
        "finished", "POST build to finished, p50/p99", f"{end50:.1f}/{end99:.1f} ms", "", None, p50=end50, p99=end99
    )


async def measure_dispatch_phases(bench: Bench) -> None:
    """Record the median times between BuildQueued, BuildPlanned, JobQueued and JobAssigned of all builds so far."""
    client: AsyncMongoClient[Any] = AsyncMongoClient(bench.stack.mongodb_url)
    commits = client.get_database("headrace_builds", codec_options=CODEC_OPTIONS)["commits"]
    at: dict[int, dict[str, float]] = {}
    async for commit in commits.find():
        for event in commit["events"]:
            at.setdefault(event["data"].get("build_id"), {}).setdefault(event["name"], commit["at"].timestamp())
    await client.close()
    names = ("BuildQueued", "BuildPlanned", "JobQueued", "JobAssigned")
    for before, after in itertools.pairwise(names):
        gaps = [build[after] - build[before] for build in at.values() if before in build and after in build]
        bench.record(f"{before}-{after}", f"  {before} to {after}, p50", f"{percentile(gaps, 0.5):.0f} ms", "", None)


async def measure_no_op_builds(bench: Bench, project_id: int) -> None:
    """Measure builds per minute with one agent of four slots. Each build checks out and runs three empty steps."""
    cpu_before, started = read_cpu_seconds(bench.stack), time.perf_counter()
    executors = [bench.stack.launch_build(project_id) for _ in range(NO_OP_BUILDS)]
    for executor in executors:
        bench.stack.wait_until_finished(executor, within=300)
    rate = NO_OP_BUILDS / (time.perf_counter() - started) * 60
    cpu = cpu_ms_per_item(cpu_before, read_cpu_seconds(bench.stack), NO_OP_BUILDS)
    parts = ", ".join(f"{name} {ms:.0f}" for name, ms in cpu.items() if ms >= 1)
    bench.record(
        "no_ops",
        f"no-op builds, one agent with 4 slots, {NO_OP_BUILDS} at once; CPU per build",
        f"{rate:.0f}/min; {sum(cpu.values()):.0f} ms ({parts})",
        "",
        None,
        rate=rate,
        cpu_ms=sum(cpu.values()),
        cpu_ms_by_process=cpu,
    )


async def measure_commands(bench: Bench, peer: str) -> None:
    body = {"executor": {"name": "bench", "driver": "localDriver"}}
    for concurrency, target in ((1, 0.6), (16, None), (64, 1.5)):
        ours = await _run_loop(bench, bench.stack.url, concurrency, "POST", "/api/admin/executors", body, bench.token)
        theirs = await _run_loop(bench, peer, concurrency, "POST", "/executors", body)
        ratio = ours.rate / theirs.rate
        bench.record(
            f"commands_{concurrency}",
            f"create through the gateway, {concurrency} callers; FastAPI + insert",
            f"{ours.text}; {theirs.text}; ratio {ratio:.2f}",
            f"{target}" if target else "",
            ratio >= target if target else None,
            ours=vars(ours),
            theirs=vars(theirs),
            ratio=ratio,
        )


async def measure_reads(bench: Bench, peer: str, path: str) -> None:
    for concurrency in (1, 16, 64):
        ours = await _run_loop(bench, bench.stack.url, concurrency, "GET", path, None, bench.token)
        theirs = await _run_loop(bench, peer, concurrency, "GET", "/listing", None)
        ratio = ours.rate / theirs.rate
        bench.record(
            f"reads_{concurrency}",
            f"list of 20 projects, {concurrency} callers; FastAPI with the same bytes",
            f"{ours.text}; {theirs.text}; ratio {ratio:.2f}",
            "0.4",
            ratio >= 0.4,
            ours=vars(ours),
            theirs=vars(theirs),
            ratio=ratio,
        )


async def _run_loop(
    bench: Bench, url: str, concurrency: int, method: str, path: str, body: Any, token: str = ""
) -> LoopResult:
    async with bench.open_connections(url, concurrency, token) as connections:

        def caller(connection: Connection) -> Callable[[], Awaitable[None]]:
            async def call() -> None:
                reply = await connection.request(method, path, body)
                if reply.status >= 300:
                    raise RuntimeError(f"{method} {path}: {reply}")

            return call

        return await closed_loop([caller(connection) for connection in connections], LOOP_SECONDS)


async def measure_rebuild(bench: Bench) -> None:
    """Measure how many events per second a rebuild reads, compared with a cursor that only decodes the same commits."""
    client: AsyncMongoClient[Any] = AsyncMongoClient(bench.stack.mongodb_url)
    database = client.get_database("headrace_builds", codec_options=CODEC_OPTIONS)
    streams = {"stream": {"$gte": "job-", "$lt": "job."}}
    started = time.perf_counter()
    events = 0
    async for document in database["commits"].find(streams).sort([("stream", 1), ("version", 1)]):
        events += len(await from_document(document, None))
    bare = events / (time.perf_counter() - started)
    started = time.perf_counter()
    await rebuild_rows(database, job_category)
    ours = events / (time.perf_counter() - started)
    await client.close()
    ratio = ours / bare
    bench.record(
        "rebuild",
        f"rebuild of the job rows, {events:,} events; a cursor that decodes them",
        f"{ours:,.0f}/s; {bare:,.0f}/s; ratio {ratio:.2f}",
        "0.5",
        ratio >= 0.5,
        ours=ours,
        bare=bare,
        ratio=ratio,
    )


def measure_memory(bench: Bench) -> None:
    processes = [psutil.Process(process["pid"]) for process in bench.stack.get_status() if process["pid"]]
    names = [process["name"] for process in bench.stack.get_status() if process["pid"]]
    supervisor = processes[0].parent()
    if supervisor is not None:
        processes.append(supervisor)
        names.append("supervisor")
    sizes = {}
    for name, process in zip(names, processes, strict=True):
        full = process.memory_full_info()
        sizes[name] = (full.rss / 2**20, getattr(full, "pss", full.rss) / 2**20)
        text = f"RSS {sizes[name][0]:.0f} MB, PSS {sizes[name][1]:.0f} MB"
        bench.record(f"memory_{name}", f"  memory of {name}", text, "", None, rss=sizes[name][0], pss=sizes[name][1])
    ours = {name: size for name, size in sizes.items() if name not in ("mongod", "nats-server")}
    for key, label, counted, limit in (
        ("memory_headrace", "memory of Headrace, idle", ours, 400),
        ("memory", "memory of the whole stack, idle", sizes, 600),
    ):
        rss, pss = (sum(size[index] for size in counted.values()) for index in (0, 1))
        text = f"PSS {pss:.0f} MB (summed RSS {rss:.0f} MB)"
        bench.record(key, label, text, f"{limit} MB", pss < limit, rss=rss, pss=pss)


@contextmanager
def running_peer(stack: RunningStack, folder: Path, listing: bytes) -> Any:
    file = folder / "listing.json"
    file.write_bytes(listing)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = os.environ | {"BENCH_MONGODB_URL": stack.mongodb_url}
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.peers", str(port), str(file)], env=environ)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        console.print("starting the embedded stack ...")
        with running_stack(folder / "data", slots=4) as stack:
            bench = Bench(stack, folder)
            measure_memory(bench)
            repository = create_sample_repository(
                folder / "repository", steps={"@one": "true", "@two": "true", "@three": "true"}
            )
            project_id = stack.create_project(repository)
            projects = [stack.create_project(repository) for _ in range(19)]
            stack.run_build(project_id)
            path = "/api/developer/paginations/project"
            listing = stack.admin.get("/developer/paginations/project").content
            with (
                running_peer(stack, folder, listing) as peer,
                asyncio.Runner(loop_factory=uvloop.new_event_loop) as run,
            ):
                run.run(measure_dispatch(bench, project_id))
                run.run(measure_dispatch_phases(bench))
                run.run(measure_no_op_builds(bench, project_id))
                run.run(measure_commands(bench, peer))
                run.run(measure_reads(bench, peer, path))
                run.run(measure_fleet(bench, projects))
                run.run(measure_rebuild(bench))
        with asyncio.Runner() as run:
            run.run(measure_long_queue(bench, folder / "queue"))
    table = Table("measurement", "result", "target", "", title="Headrace on this machine")
    for row in bench.rows:
        table.add_row(*row)
    console.print(table)
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "system": platform.platform()}
    RESULTS_FILE.write_text(json.dumps({"machine": machine, "results": bench.results}, indent=2) + "\n")
    console.print(f"written to {RESULTS_FILE}")


if __name__ == "__main__":
    main()
