"""`headrace backup` and `headrace restore`: where files come from and go to, progress, and what was done in words."""

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, TypeVar
from uuid import uuid4

from nats.aio.client import Client
from nats.errors import Error as NatsError
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from infra.backup import restoring, taking
from infra.backup.container import BackupError, Header, Reader, Section, Writer
from infra.backup.contents import LOG
from infra.events import connected, nats_of
from infra.local.folder import DataFolder
from infra.local.process import StackError
from infra.local.servers import local_servers
from infra.local.state import held_by_us
from infra.migrate import all_services
from infra.migrate import migrate as migrate_services
from libs.connections import Document, database_of, mongo, part_from
from libs.messaging import disconnect
from libs.security.sealing import MasterKeys
from libs.service import Service
from libs.settings import Settings, SettingsError
from libs.version import VERSION

STREAM = "-"
T = TypeVar("T")
PATIENCE = 600.0  # seconds for one answer of the database: some look through a whole collection

console = Console(stderr=True, highlight=False, soft_wrap=True)


def backup(file: str, left_out: Sequence[str]) -> None:
    with _servers(Settings.from_environment(os.environ), there=True) as settings, _output(file) as output:
        started = time.monotonic()
        writer = _in_words(lambda: asyncio.run(_backup(settings, output, left_out)))
    seconds, sections = time.monotonic() - started, writer.sections
    console.print(
        f"Backed up {_decisions(sections):,} decisions, {sum(one.documents for one in sections):,} documents "
        f"({_mb(sum(one.bytes for one in sections))}, in a file of {_mb(writer.written)}), as they were at "
        f"{writer.header.moment:%Y-%m-%d %H:%M:%S} UTC, in {seconds:.1f} s."
    )
    if not writer.header.sealing:
        console.print("It is not sealed: keep it as safe as the database, or set HEADRACE_BACKUP_KEY.")
    console.print("The master key is not in it: keep that elsewhere.")


async def _backup(settings: Settings, output: BinaryIO, left_out: Sequence[str]) -> Writer:
    writers: list[Writer] = []

    def begin(moment: datetime) -> Writer:
        header = Header(str(uuid4()), moment, VERSION, tuple(left_out))
        writers.append(Writer(output, header, settings.backup_key))
        return writers[0]

    services = all_services()
    async with _databases(settings, services) as (client, databases):
        floors = await _floors(settings, services)
        with _progress() as show:

            def report(section: Section) -> None:
                show(f"{section.service}.{section.collection}  {section.documents:,}", 0, 0)

            await taking.take(client, services, databases, floors, begin, report, left_out)
    return writers[0]


async def _floors(settings: Settings, services: Sequence[Service]) -> dict[str, dict[str, datetime]]:
    try:
        nats = await connected(nats_of(settings), "backup")
    except (StackError, SettingsError):
        console.print("NATS does not answer: after a restore the workers will look at every event again.")
        return {}
    try:
        return await taking.floors(services, nats)
    finally:
        await disconnect(nats)


def verify(file: str) -> None:
    settings = Settings.from_environment(os.environ)
    with _input(file) as source:
        reader, checked = _checked(source, settings)
    left_out = f", without {' and '.join(reader.header.left_out)}" if reader.header.left_out else ""
    console.print(
        f"A sound backup of {reader.header.moment:%Y-%m-%d %H:%M:%S} UTC in format {reader.format}, made by Headrace "
        f"{reader.header.version}{left_out}: {_decisions(checked.sections):,} decisions, "
        f"{sum(one.documents for one in checked.sections):,} documents."
    )
    if checked.opened:
        console.print(f"HEADRACE_MASTER_KEY opens its {checked.data_keys:,} data keys.")
    else:
        console.print("Whether your master key opens its data keys was not checked: HEADRACE_MASTER_KEY is not set.")


def restore(file: str, *, purge: bool) -> None:
    settings = _with_master_key(Settings.from_environment(os.environ))
    with _input(file) as source:
        reader, checked = _checked(source, settings)
        if unknown := checked.services - {one.name for one in all_services()}:
            raise StackError(f"The backup has services that this Headrace does not know: {', '.join(unknown)}.")
        started = time.monotonic()
        with _servers(settings, there=False) as settings:
            jobs = _in_words(lambda: asyncio.run(_restore(settings, reader, purge=purge)))
            migrate_services(settings)
    console.print(
        f"Restored {_decisions(checked.sections):,} decisions, {sum(one.documents for one in checked.sections):,} "
        f"documents in {time.monotonic() - started:.1f} s: the system is as it was at "
        f"{reader.header.moment:%Y-%m-%d %H:%M:%S} UTC. Start the services now, with the same master key; "
        "they fill JetStream and build the views over it by themselves."
    )
    if jobs:
        console.print(
            f"{jobs} jobs ran at that moment: those whose runner goes on reporting go on, "
            "the others are lost after the time of a lease and tried again."
        )


async def _restore(settings: Settings, reader: Reader, *, purge: bool) -> int:
    services = all_services()
    async with _databases(settings, services) as (_, databases), _bus(settings) as nats:
        if await restoring.refuse_occupied(databases, nats, purge=purge):
            console.print("An earlier restore did not come to its end; it begins again.")
        with _progress() as show:
            await restoring.load(databases, nats, reader, lambda done, of: show("writing", done, of))
            show("heads of the streams", 0, 0)
            await restoring.finish(databases)
        return await restoring.interrupted_jobs(databases["builds"])


def _checked(source: BinaryIO, settings: Settings) -> tuple[Reader, restoring.Checked]:
    """Raises StackError before anything was written."""
    master = MasterKeys.of(settings.master_keys) if settings.master_keys else None

    def look() -> tuple[Reader, restoring.Checked]:
        reader = Reader(source, settings.backup_key)
        with _progress() as show:
            return reader, restoring.check(reader, master, lambda done, of: show("checking", done, of))

    return _in_words(look)


# ---- where it comes from and goes to


@contextmanager
def _output(file: str) -> Iterator[BinaryIO]:
    """A file appears under its name when all is in it, and only its owner may read it."""
    if file == STREAM:
        if sys.stdout.isatty():
            raise SettingsError("A backup is no text for a terminal; send it on, like `headrace backup - > FILE`.")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(file)
    if path.exists():
        raise SettingsError(f"{path} is there already; a backup replaces nothing.")
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as output:
            yield output
            output.flush()
            os.fsync(output.fileno())
        draft.rename(path)
    except OSError as error:
        raise StackError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _input(file: str) -> Iterator[BinaryIO]:
    """A backup is read twice, so one that comes through a pipe is kept in the temporary folder meanwhile."""
    try:
        if file != STREAM:
            with Path(file).open("rb") as source:
                yield source
        elif sys.stdin.buffer.seekable():
            yield sys.stdin.buffer
        else:
            with tempfile.TemporaryFile() as kept:
                shutil.copyfileobj(sys.stdin.buffer, kept, 1024 * 1024)
                yield kept
    except OSError as error:
        raise StackError(f"{file} cannot be read: {error.strerror}.") from error


@contextmanager
def _servers(settings: Settings, *, there: bool) -> Iterator[Settings]:
    """Those that the settings name; else those of the local stack, started for this if it does not run."""
    if settings.mongodb_url:
        if not there:
            settings.require_servers()
        yield settings
        return
    folder = DataFolder(settings.data)
    if there and not (folder.path / "mongodb").exists():
        raise SettingsError(
            f"There is no stack on {settings.data}; name its folder with --data, or set HEADRACE_MONGODB_URL "
            "and HEADRACE_NATS_URL."
        )
    folder.prepare()
    with held_by_us(folder), local_servers(folder.path) as servers:
        yield replace(settings, mongodb_url=servers.mongodb_url, nats_url=servers.nats_url)


def _with_master_key(settings: Settings) -> Settings:
    """The one that is set, or the one of the local stack; without any a restored system could open nothing."""
    kept = settings.data / "secrets" / "master-key"
    if not settings.master_keys and kept.exists():
        settings = Settings.from_environment({**os.environ, "HEADRACE_MASTER_KEY": kept.read_text()})
    if not settings.master_keys:
        raise SettingsError(
            "HEADRACE_MASTER_KEY is not set: without the master key of the system that was backed up nothing can be "
            f"opened that is sealed. Set it, or put it into {kept}."
        )
    return settings


@asynccontextmanager
async def _databases(
    settings: Settings, services: Sequence[Service]
) -> AsyncIterator[tuple[AsyncMongoClient[Document], taking.Databases]]:
    client = mongo(settings, "backup", patience=PATIENCE)
    try:
        yield client, {service.name: database_of(client, settings, service.name) for service in services}
    finally:
        await part_from(client)


@asynccontextmanager
async def _bus(settings: Settings) -> AsyncIterator[Client]:
    nats = await connected(settings, "restore")
    try:
        yield nats
    finally:
        await disconnect(nats)


# ---- words


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)
        yield lambda words, done, of: progress.update(task, description=words, completed=done, total=of or None)


def _in_words(act: Callable[[], T]) -> T:
    """What a file or a server says against it, as the operator is told everything else."""
    try:
        return act()
    except BackupError as error:
        raise StackError(str(error)) from error
    except PyMongoError as error:
        raise StackError(f"MongoDB does not do it: {error}") from error
    except (NatsError, TimeoutError) as error:
        raise StackError(f"NATS does not do it ({type(error).__name__}); is it reachable?") from error


def _decisions(sections: Sequence[Section]) -> int:
    return sum(one.documents for one in sections if one.collection == LOG)


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
