"""`headrace admin backup` and `restore`: open the files and servers, show progress, and print the results."""

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
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

from infra.backup import erasures, snapshot
from infra.backup import restore as restore_steps
from infra.backup.file_format import BackupError, Header, Section
from infra.backup.file_reader import BackupReader
from infra.backup.file_writer import BackupWriter
from infra.backup.scope import COMMITS
from infra.event_stream import connect_to_nats, require_nats
from infra.local.data_folder import DataFolder
from infra.local.process import OperatorError
from infra.local.servers import local_servers
from infra.local.stack_state import exclusive_lock
from infra.migration import migrate as migrate_services
from infra.service_catalog import load_services
from libs.documents import Document
from libs.messaging.nats_connection import disconnect
from libs.security.envelope_encryption import MasterKeys
from libs.service.connections import close_client, create_mongo_client, get_database
from libs.service.declaration import Service
from libs.settings import Settings, SettingsError
from libs.version import VERSION

STANDARD_STREAM = "-"
T = TypeVar("T")
MONGODB_TIMEOUT_SECONDS = 600.0  # limit of one MongoDB operation; some operations read a whole collection

console = Console(stderr=True, highlight=False, soft_wrap=True)


def backup(file: str, excluded: Sequence[str]) -> None:
    with (
        _select_servers(Settings.from_environment(os.environ), must_exist=True) as settings,
        _open_output(file) as output,
    ):
        started = time.monotonic()
        writer = _translate_errors(lambda: asyncio.run(_write_backup(settings, output, excluded)))
    seconds, sections = time.monotonic() - started, writer.sections
    console.print(
        f"Backed up {_count_commits(sections):,} commits, {_count_documents(sections):,} documents "
        f"({_format_megabytes(sum(section.bytes for section in sections))}, "
        f"file size {_format_megabytes(writer.written)}), as of "
        f"{writer.header.moment:%Y-%m-%d %H:%M:%S} UTC, in {seconds:.1f} s."
    )
    if not writer.header.sealing:
        console.print("The file is not encrypted: protect it like the database, or set HEADRACE_BACKUP_KEY.")
    console.print("The master key is not included; keep it elsewhere.")


async def _write_backup(settings: Settings, output: BinaryIO, excluded: Sequence[str]) -> BackupWriter:
    writers: list[BackupWriter] = []

    def begin(moment: datetime) -> BackupWriter:
        header = Header(str(uuid4()), moment, VERSION, tuple(excluded))
        writers.append(BackupWriter(output, header, settings.backup_key))
        return writers[0]

    services = load_services()
    async with _open_databases(settings, services) as (client, databases):
        floors = await _read_ack_floors(settings, services)
        with _show_progress() as show:

            def report(section: Section) -> None:
                show(f"{section.service}.{section.collection}  {section.documents:,}", 0, 0)

            await snapshot.create_backup(client, services, databases, floors, begin, report, excluded)
    return writers[0]


async def _read_ack_floors(settings: Settings, services: Sequence[Service]) -> dict[str, dict[str, datetime]]:
    try:
        nats = await connect_to_nats(require_nats(settings), "backup")
    except (OperatorError, SettingsError):
        console.print("NATS does not respond: after a restore, workers will receive every event again.")
        return {}
    try:
        return await snapshot.read_ack_floors(services, nats)
    finally:
        await disconnect(nats)


def verify(file: str) -> None:
    settings = Settings.from_environment(os.environ)
    with _open_input(file) as source:
        reader, checked = _check_file(source, settings)
    left_out = f", without {' and '.join(reader.header.left_out)}" if reader.header.left_out else ""
    console.print(
        f"The backup is intact: {reader.header.moment:%Y-%m-%d %H:%M:%S} UTC, format {reader.format}, written by "
        "Headrace "
        f"{reader.header.version}{left_out}: {_count_commits(checked.sections):,} commits, "
        f"{_count_documents(checked.sections):,} documents."
    )
    if checked.keys_verified:
        console.print(f"HEADRACE_MASTER_KEY decrypts its {checked.data_keys:,} data keys.")
    else:
        console.print("Its data keys were not checked, because HEADRACE_MASTER_KEY is not set.")


def restore(file: str, *, purge: bool, erasures_file: Path | None = None) -> None:
    settings = _with_master_key(Settings.from_environment(os.environ))
    known = erasures.read_file(erasures_file) if erasures_file else []
    with _open_input(file) as source:
        reader, checked = _check_file(source, settings)
        if unknown := checked.services - {service.name for service in load_services()}:
            raise OperatorError(f"The backup contains services that this version does not know: {', '.join(unknown)}.")
        started = time.monotonic()
        with _select_servers(settings, must_exist=False) as settings:
            jobs = _translate_errors(lambda: asyncio.run(_restore(settings, reader, known, purge=purge)))
            migrate_services(settings)
    console.print(
        f"Restored {_count_commits(checked.sections):,} commits, {_count_documents(checked.sections):,} "
        f"documents in {time.monotonic() - started:.1f} s: the system has the state of "
        f"{reader.header.moment:%Y-%m-%d %H:%M:%S} UTC. Start the services with the same master key; "
        "they fill JetStream and rebuild their projections."
    )
    if jobs:
        console.print(
            f"{jobs} jobs were running at that time. They continue if their runner still reports; "
            "otherwise they are lost after one lease period and retried."
        )


async def _restore(settings: Settings, reader: BackupReader, known: Sequence[erasures.Erasure], *, purge: bool) -> int:
    services = load_services()
    async with _open_databases(settings, services) as (_, databases), _open_nats(settings) as nats:
        if await restore_steps.require_empty_system(databases, nats, purge=purge):
            console.print("Starting again after an incomplete restore.")
        with _show_progress() as show:
            await restore_steps.load_backup(databases, nats, reader, known, lambda done, of: show("writing", done, of))
            show("stream heads", 0, 0)
            await restore_steps.finish_restore(databases)
        return await restore_steps.count_interrupted_jobs(databases["builds"])


def print_erasures() -> None:
    with _select_servers(Settings.from_environment(os.environ), must_exist=True) as settings:
        _translate_errors(lambda: asyncio.run(_print_erasures(settings)))


async def _print_erasures(settings: Settings) -> None:
    async with _open_databases(settings, load_services()) as (_, databases):
        async for erasure in erasures.read_log(databases[erasures.IDENTITY]):
            sys.stdout.write(f"{erasures.to_line(erasure)}\n")


def _check_file(source: BinaryIO, settings: Settings) -> tuple[BackupReader, restore_steps.CheckResult]:
    """Verify the whole file. Raises OperatorError if it is damaged or cannot be decrypted."""
    master = MasterKeys.from_keys(settings.master_keys) if settings.master_keys else None

    def look() -> tuple[BackupReader, restore_steps.CheckResult]:
        reader = BackupReader(source, settings.backup_key)
        with _show_progress() as show:
            return reader, restore_steps.check_backup(reader, master, lambda done, of: show("checking", done, of))

    return _translate_errors(look)


@contextmanager
def _open_output(file: str) -> Iterator[BinaryIO]:
    """Open the output. A file must not exist; only its owner can read it, and it gets its name when it is complete."""
    if file == STANDARD_STREAM:
        if sys.stdout.isatty():
            raise SettingsError("A backup is binary data; redirect it, as in `headrace admin backup - > FILE`.")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(file)
    if path.exists():
        raise SettingsError(f"{path} exists; a backup does not overwrite files.")
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as output:
            yield output
            output.flush()
            os.fsync(output.fileno())
        draft.rename(path)
    except OSError as error:
        raise OperatorError(f"Cannot write {path}: {error.strerror}.") from error
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _open_input(file: str) -> Iterator[BinaryIO]:
    """Open a backup to read it twice: a pipe is first copied to a file. Raises OperatorError if it cannot be read."""
    try:
        if file != STANDARD_STREAM:
            with Path(file).open("rb") as source:
                yield source
        elif sys.stdin.buffer.seekable():
            yield sys.stdin.buffer
        else:
            with tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(sys.stdin.buffer, copy, 1024 * 1024)
                yield copy
    except OSError as error:
        raise OperatorError(f"Cannot read {file}: {error.strerror}.") from error


@contextmanager
def _select_servers(settings: Settings, *, must_exist: bool) -> Iterator[Settings]:
    """Yield settings with the configured servers, or with the embedded stack's servers, which run for the block."""
    if settings.mongodb_url:
        if not must_exist:
            settings.require_servers()
        yield settings
        return
    folder = DataFolder(settings.data)
    if must_exist and not (folder.path / "mongodb").exists():
        raise SettingsError(
            f"No stack exists on {settings.data}. Select its folder with --data, or set HEADRACE_MONGODB_URL "
            "and HEADRACE_NATS_URL."
        )
    folder.prepare()
    with exclusive_lock(folder), local_servers(folder.path) as servers:
        yield settings.model_copy(update={"mongodb_url": servers.mongodb_url, "nats_url": servers.nats_url})


def _with_master_key(settings: Settings) -> Settings:
    """Return settings with the configured master key or the embedded stack's. Raises SettingsError without a key."""
    key_file = settings.data / "secrets" / "master-key"
    if not settings.master_keys and key_file.exists():
        settings = Settings.from_environment({**os.environ, "HEADRACE_MASTER_KEY": key_file.read_text()})
    if not settings.master_keys:
        raise SettingsError(
            "HEADRACE_MASTER_KEY is not set. Encrypted data cannot be read without the master key of the backed-up "
            f"system. Set it, or write it to {key_file}."
        )
    return settings


@asynccontextmanager
async def _open_databases(
    settings: Settings, services: Sequence[Service]
) -> AsyncIterator[tuple[AsyncMongoClient[Document], snapshot.Databases]]:
    client = create_mongo_client(settings, "backup", timeout=MONGODB_TIMEOUT_SECONDS)
    try:
        yield client, {service.name: get_database(client, settings, service.name) for service in services}
    finally:
        await close_client(client)


@asynccontextmanager
async def _open_nats(settings: Settings) -> AsyncIterator[Client]:
    nats = await connect_to_nats(settings, "restore")
    try:
        yield nats
    finally:
        await disconnect(nats)


@contextmanager
def _show_progress() -> Iterator[Callable[[str, int, int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)
        yield lambda text, done, total: progress.update(task, description=text, completed=done, total=total or None)


def _translate_errors(action: Callable[[], T]) -> T:
    try:
        return action()
    except BackupError as error:
        raise OperatorError(str(error)) from error
    except PyMongoError as error:
        raise OperatorError(f"MongoDB failed: {error}") from error
    except (NatsError, TimeoutError) as error:
        raise OperatorError(f"NATS failed ({type(error).__name__}). Check that it is reachable.") from error


def _count_commits(sections: Sequence[Section]) -> int:
    return sum(section.documents for section in sections if section.collection == COMMITS)


def _count_documents(sections: Sequence[Section]) -> int:
    return sum(section.documents for section in sections)


def _format_megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
