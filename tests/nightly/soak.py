"""Soak of retention: many builds with a limit per project, after which disk and memory must no longer grow.

`python -m tests.nightly.soak [--builds 20000] [--keep 500] [--projects 4] [--runners 8]` runs the services builds and
projects in this process and plays the runners: no program is executed. Days of retention last seconds. It prints sizes
at intervals and fails if the last quarter of the run needs clearly more than the second one. Only tombstones may grow.
"""

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from libs.retention import removal_hold, stream_removal, stream_trimming
from libs.retention.storage_sizes import measure_collections
from libs.service import leader_tasks
from libs.settings import RetentionSettings
from tests.support.external.repositories import create_sample_repository
from tests.support.in_process.build_stage import BuildStage, build_stage
from tests.support.infrastructure.servers import running_servers

SECONDS = 1 / 86_400  # one second in days; the settings are not validated here, so fractions are possible
FAST_RETENTION = RetentionSettings().model_copy(update={"deleted_days": 10 * SECONDS, "event_days": 10 * SECONDS})
SAMPLES = 20
MAX_GROWTH = 1.25  # permitted factor from the second to the last quarter of the run
DOCUMENT_SLACK = 1000  # documents whose removal is pending
BYTES_SLACK = 16 * 2**20
TOMBSTONE_BYTES = 1024  # size of a tombstone with its index entries
MIB = 2**20


@dataclass(frozen=True)
class Sample:
    builds: int
    documents: Mapping[str, int]  # number of documents by collection, without tombstones
    tombstones: int
    disk_bytes: int  # size of the database on disk
    stream_bytes: int  # size of the JetStream streams
    memory_bytes: int  # resident memory of this process
    database_bytes: int  # memory of mongod

    def __str__(self) -> str:
        return (
            f"{self.builds:8} {sum(self.documents.values()):10} {self.tombstones:10} {self.disk_bytes / MIB:9.1f} "
            f"{self.stream_bytes / MIB:10.1f} {self.memory_bytes / MIB:10.1f} {self.database_bytes / MIB:10.1f}"
        )


HEADER = "  builds  documents tombstones  disk MiB stream MiB memory MiB mongod MiB"


@asynccontextmanager
async def running_stage(folder: Path) -> AsyncIterator[BuildStage]:
    repository = create_sample_repository(folder / "repository", {"build": "make", "@b": "make"})
    with running_servers(folder / "servers") as servers, pytest.MonkeyPatch.context() as patch:
        patch.setattr(leader_tasks, "REMOVAL_INTERVAL_SECONDS", 1.0)
        patch.setattr(leader_tasks, "TRIMMING_INTERVAL_SECONDS", 2.0)
        patch.setattr(removal_hold, "HOLD_SECONDS", 10)
        patch.setattr(stream_removal, "PURGE_DELAY", timedelta(seconds=10))
        patch.setattr(stream_trimming, "MIN_AGE", timedelta(seconds=10))
        async with build_stage(servers, folder, repository, retention=FAST_RETENTION) as stage:
            yield stage


async def measure(stage: BuildStage, builds: int) -> Sample:
    database = stage.database
    documents = {name: await database[name].count_documents({}) for name in await database.list_collection_names()}
    tombstones = await database["commits"].count_documents({"events": []})
    documents["commits"] -= tombstones
    async with stage.stage.connected() as bus:
        streams = await bus.jetstream().streams_info()
    status = await database.command("serverStatus")
    return Sample(
        builds,
        documents,
        tombstones,
        sum((await measure_collections(database)).values()),
        sum(info.state.bytes for info in streams),
        _read_memory(),
        int(status["mem"]["resident"]) * MIB,
    )


def _read_memory() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def soak(stage: BuildStage, builds: int, keep: int, projects: int, runners: int) -> Sequence[Sample]:
    projects_id = [await stage.create_project(name=f"soak {n}", keep_number_build=keep) for n in range(projects)]
    numbers, samples, interval = count(1), [], max(builds // SAMPLES, 1)

    async def run_builds() -> None:
        while (number := next(numbers)) <= builds:
            await stage.run_build(projects_id[number % projects], b"a line of output\n" * 20)
            if number % interval == 0:
                samples.append(await measure(stage, number))
                print(samples[-1], flush=True)  # noqa: T201

    async with asyncio.TaskGroup() as group:
        for _ in range(runners):
            group.create_task(run_builds())
    return samples


def find_growth(samples: Sequence[Sample]) -> list[str]:
    """Return the collections and figures that grow too much from the second to the last quarter of the run.

    The limit is MAX_GROWTH times the largest value of the second quarter, plus a slack.
    """
    before, after = samples[len(samples) // 4 : len(samples) // 2], samples[-(len(samples) // 4) :]
    tombstones = TOMBSTONE_BYTES * (after[-1].tombstones - before[0].tombstones)
    figures: dict[str, tuple[Callable[[Sample], int], int]] = {
        "disk": (lambda sample: sample.disk_bytes, BYTES_SLACK + tombstones),
        "streams": (lambda sample: sample.stream_bytes, BYTES_SLACK),
        "memory": (lambda sample: sample.memory_bytes, BYTES_SLACK),
    }
    for name in after[-1].documents:
        figures[name] = (partial(_count_documents, name), DOCUMENT_SLACK)
    return [
        name
        for name, (figure, slack) in figures.items()
        if min(map(figure, after)) > MAX_GROWTH * max(map(figure, before)) + slack
    ]


def _count_documents(collection: str, sample: Sample) -> int:
    return sample.documents.get(collection, 0)


async def run(options: argparse.Namespace) -> int:
    # hides warnings about heartbeats: the runners service, which records them, does not run
    logging.disable(logging.WARNING)
    print(HEADER, flush=True)  # noqa: T201
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        async with running_stage(Path(folder)) as stage:
            samples = await soak(stage, options.builds, options.keep, options.projects, options.runners)
    growing = find_growth(samples)
    rate = options.builds / (time.monotonic() - started)
    print(f"{rate:.1f} builds/s; " + (f"still growing: {', '.join(growing)}" if growing else "all figures level off"))  # noqa: T201
    return 1 if growing else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--builds", type=int, default=20_000)
    parser.add_argument("--keep", type=int, default=500)
    parser.add_argument("--projects", type=int, default=4)
    parser.add_argument("--runners", type=int, default=8)
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
