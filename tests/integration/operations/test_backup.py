"""Backup and restore on real servers: what a backup contains, what restore rejects and what it writes."""

import asyncio
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from bson import Timestamp
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from infra.backup import backup_commands, restore
from infra.backup.file_format import BackupError, Header
from infra.backup.file_writer import BackupWriter
from infra.backup.snapshot import create_backup
from infra.local.process import OperatorError
from infra.migration import migrate
from infra.service_catalog import load_services
from libs.messaging.nats_connection import connect
from libs.security.envelope_encryption import MasterKeys
from libs.service.connections import create_mongo_client, get_database
from libs.settings import Settings, SettingsError
from tests.support.infrastructure.servers import Servers, running_servers
from tests.support.stacks.running_stack import HEADRACE_COMMAND, SERVICES
from tests.support.waiting import wait_until

KEY, OTHER_KEY = "A" * 43 + "=", "B" * 42 + "A="
SNAPSHOT_TOO_OLD_CODE = 239
LONG_AGO = datetime(2026, 1, 31, 12, tzinfo=UTC)
GOLDEN_BACKUPS = Path(__file__).parent / "backups"
Documents = dict[str, list[dict[str, Any]]]  # keyed by service and collection: "builds.attempts"


@dataclass(frozen=True)
class Installation:
    """An installation on the test servers with its own database prefix."""

    servers: Servers
    prefix: str

    @property
    def environ(self) -> dict[str, str]:
        return {
            "HEADRACE_MONGODB_URL": self.servers.mongodb_url,
            "HEADRACE_NATS_URL": self.servers.nats_url,
            "HEADRACE_MASTER_KEY": KEY,
            "HEADRACE_DATABASE_PREFIX": self.prefix,
        }

    @property
    def settings(self) -> Settings:
        return Settings.from_environment(self.environ)

    def client(self) -> MongoClient[dict[str, Any]]:
        return MongoClient(self.servers.mongodb_url, tz_aware=True)

    def insert(self, documents: Documents) -> None:
        with self.client() as client:
            for path, rows in documents.items():
                service, collection = path.split(".")
                client[f"{self.prefix}_{service}"][collection].insert_many(rows)

    def read_documents(self) -> Documents:
        with self.client() as client:
            return {
                f"{service}.{name}": list(client[f"{self.prefix}_{service}"][name].find({}).sort("_id"))
                for service in SERVICES
                for name in client[f"{self.prefix}_{service}"].list_collection_names()
            }

    def drop_databases(self) -> None:
        with self.client() as client:
            for service in SERVICES:
                client.drop_database(f"{self.prefix}_{service}")


def commit_document(number: int, at: datetime, version: int = 1) -> dict[str, Any]:
    created = {"executor_id": number, "name": f"executor {number}", "driver": "localDriver", "sealed_variables": ""}
    renamed = {"executor_id": number, "name": f"number {number}, named anew"}
    name, data = ("ExecutorCreated", created) if version == 1 else ("ExecutorRenamed", renamed)
    return {
        "_id": f"command-{number}-{version}",
        "stream": f"executor-{number}",
        "version": version,
        "at": at,
        "command": "CreateExecutor",
        "actor": {"id": 1, "name": "admin"},
        "trace": "",
        "events": [{"name": name, "version": 1, "data": data}],
    }


def data_key_document(subject: str) -> dict[str, Any]:
    master = MasterKeys.parse(KEY)
    return {"_id": subject, "wrapped": master.wrap(subject, bytes(32)), "kid": master.current}


def sample_documents(now: datetime) -> Documents:
    """Return commits, logs and files, some old and some current."""
    return {
        "projects.commits": [
            commit_document(1, LONG_AGO),
            commit_document(1, LONG_AGO, version=2),
            commit_document(2, now),
        ],
        "projects.counters": [{"_id": "executor", "last": 20}],
        "projects.followers": [
            {"_id": "reactions-to-projects", "incarnation": "x", "sequence": 3, "event_id": "executor-2@1.0"}
        ],
        "projects.view_project_builds_v1": [{"_id": "1", "row": {}}],
        "identity.data_keys": [data_key_document("user-1"), data_key_document("user-2")],
        "builds.attempts": [{"_id": "hash", "job_id": 1, "finished": False}],
        "builds.log_chunks": [{"attempt": "hash", "text": b"line\n" * 1000} for _ in range(3)],
        "builds.file_pieces": [{"file": "f", "offset": n, "content": os.urandom(100_000)} for n in range(4)],
    }


BACKED_UP_COLLECTIONS = set(sample_documents(LONG_AGO)) - {"projects.followers", "projects.view_project_builds_v1"}


@pytest.fixture
def installations(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Installation, Installation]]:
    """Return an installation with sample documents and an empty one."""
    source, target = (Installation(servers, f"test-{uuid4().hex[:8]}") for _ in range(2))
    set_environment(monkeypatch, source.environ)
    source.insert(sample_documents(datetime.now(UTC)))
    asyncio.run(delete_all_streams(source.settings))
    yield source, target
    asyncio.run(delete_all_streams(source.settings))
    source.drop_databases()
    target.drop_databases()


async def publish_event(settings: Settings, subject: str) -> None:
    nats = await connect(settings, "test")
    await nats.jetstream().publish(subject, b"{}")
    await nats.close()


async def delete_all_streams(settings: Settings) -> None:
    nats = await connect(settings, "test")
    for stream in await nats.jetstream().streams_info():
        await nats.jetstream().delete_stream(str(stream.config.name))
    await nats.close()


def set_environment(monkeypatch: pytest.MonkeyPatch, environ: Mapping[str, str]) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def backup(installations: tuple[Installation, Installation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Create a backup and point the environment at the empty installation. Return the path of the file."""
    file = str(tmp_path / "today.backup")
    backup_commands.backup(file, [])
    set_environment(monkeypatch, installations[1].environ)
    return file


def test_restore_copies_documents_that_cannot_be_rebuilt_from_the_event_log(
    installations: tuple[Installation, Installation], backup: str
) -> None:
    source, target = installations
    backup_commands.restore(backup, purge=False)
    restored, was = target.read_documents(), source.read_documents()
    assert {name: restored[name] for name in BACKED_UP_COLLECTIONS} == {
        name: was[name] for name in BACKED_UP_COLLECTIONS
    }


def test_restore_rebuilds_stream_heads_and_rows_from_the_event_log(
    installations: tuple[Installation, Installation], backup: str
) -> None:
    backup_commands.restore(backup, purge=False)
    heads = {head["_id"]: head for head in installations[1].read_documents()["projects.streams"]}
    assert {name: (head["version"], head["commit"]) for name, head in heads.items()} == {
        "executor-1": (2, "command-1-2"),
        "executor-2": (1, "command-2-1"),
    }
    assert heads["executor-1"]["executor_v1"]["name"] == "number 1, named anew"


def test_restore_turns_checkpoints_into_the_time_up_to_which_events_were_handled(
    installations: tuple[Installation, Installation], backup: str
) -> None:
    source, target = installations
    backup_commands.restore(backup, purge=False)
    restored = target.read_documents()
    [newest] = [
        document["at"] for document in source.read_documents()["projects.commits"] if document["_id"] == "command-2-1"
    ]
    assert restored["projects.handled"] == [{"_id": "reactions-to-projects", "before": newest - timedelta(minutes=10)}]
    assert "projects.followers" not in restored


def test_logs_and_artifacts_can_be_excluded_from_a_backup(
    installations: tuple[Installation, Installation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(tmp_path / "small.backup")
    backup_commands.backup(file, ["logs", "artifacts"])
    set_environment(monkeypatch, installations[1].environ)
    backup_commands.restore(file, purge=False)
    restored = installations[1].read_documents()
    assert (restored["builds.log_chunks"], restored["builds.file_pieces"], len(restored["builds.attempts"])) == (
        [],
        [],
        1,
    )


def test_backup_and_restore_work_through_a_pipe(
    installations: tuple[Installation, Installation], tmp_path: Path
) -> None:
    source, target = installations
    sealed = {"HEADRACE_BACKUP_KEY": "a passphrase"}
    taken = subprocess.run(
        (*HEADRACE_COMMAND, "backup", "-"), env=os.environ | source.environ | sealed, capture_output=True, check=True
    )
    subprocess.run(
        (*HEADRACE_COMMAND, "restore", "-"), env=os.environ | target.environ | sealed, input=taken.stdout, check=True
    )
    assert target.read_documents()["projects.commits"] == source.read_documents()["projects.commits"]


def test_verify_checks_a_backup_file_without_servers(backup: str, capsys: pytest.CaptureFixture[str]) -> None:
    backup_commands.verify(backup)
    output = capsys.readouterr().err
    assert "The backup is intact" in output
    assert "HEADRACE_MASTER_KEY decrypts its 2 data keys." in output


def test_restore_rejects_an_altered_file_before_writing_anything(
    installations: tuple[Installation, Installation], backup: str
) -> None:
    stored = bytearray(Path(backup).read_bytes())
    stored[-100] ^= 1
    Path(backup).write_bytes(stored)
    with pytest.raises(OperatorError, match=r"damaged|modified"):
        backup_commands.restore(backup, purge=False)
    assert installations[1].read_documents() == {}


def test_restore_rejects_a_wrong_master_key_before_writing_anything(
    installations: tuple[Installation, Installation], backup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_MASTER_KEY", OTHER_KEY)
    with pytest.raises(OperatorError, match="HEADRACE_MASTER_KEY does not contain"):
        backup_commands.restore(backup, purge=False)
    assert installations[1].read_documents() == {}


def test_restore_accepts_an_old_master_key_listed_after_the_current_one(
    backup: str, installations: tuple[Installation, Installation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_MASTER_KEY", f"{OTHER_KEY},{KEY}")
    backup_commands.restore(backup, purge=False)
    assert len(installations[1].read_documents()["identity.data_keys"]) == 2


def test_restore_refuses_an_installation_that_is_not_empty(
    installations: tuple[Installation, Installation], backup: str
) -> None:
    installations[1].insert({"runners.commits": [{"_id": "a", "stream": "runner-1", "version": 1}]})
    with pytest.raises(OperatorError, match="is not empty"):
        backup_commands.restore(backup, purge=False)
    assert set(installations[1].read_documents()) == {"runners.commits"}


def test_an_interrupted_restore_blocks_migration_until_it_is_repeated(
    installations: tuple[Installation, Installation], backup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = installations
    with monkeypatch.context() as dying:
        dying.setattr(restore, "finish_restore", _raise_keyboard_interrupt)
        with pytest.raises(KeyboardInterrupt):
            backup_commands.restore(backup, purge=False)
    with pytest.raises(OperatorError, match="is incomplete"):
        migrate(target.settings)
    backup_commands.restore(backup, purge=False)
    migrate(target.settings)
    assert target.read_documents()["projects.commits"] == source.read_documents()["projects.commits"]


async def _raise_keyboard_interrupt(_databases: object) -> None:
    raise KeyboardInterrupt


def test_restore_purges_events_of_the_previous_installation_only_on_request(
    installations: tuple[Installation, Installation], backup: str
) -> None:
    backup_commands.restore(backup, purge=False)
    asyncio.run(publish_event(installations[1].settings, "evt.projects.executor-9.ExecutorCreated"))
    installations[1].drop_databases()
    with pytest.raises(OperatorError, match="JetStream still contains 1 events of projects"):
        backup_commands.restore(backup, purge=False)
    backup_commands.restore(backup, purge=True)
    assert len(installations[1].read_documents()["projects.commits"]) == 3


async def test_a_backup_that_outlives_the_snapshot_history_names_the_setting_to_change(tmp_path: Path) -> None:
    with running_servers(tmp_path) as servers:
        installation = Installation(servers, "test-slow")
        installation.insert(sample_documents(datetime.now(UTC)))
        async with create_mongo_client(installation.settings, "test") as client:
            databases = {
                service.name: get_database(client, installation.settings, service.name) for service in load_services()
            }

            def begin(moment: datetime) -> BackupWriter:
                wait_until_snapshot_expired(installation, moment)
                return BackupWriter(BytesIO(), Header("b1", moment, "0.1.0"))

            with pytest.raises(BackupError, match="minSnapshotHistoryWindowInSeconds"):
                await create_backup(client, load_services(), databases, {}, begin, lambda _section: None)


def wait_until_snapshot_expired(place: Installation, moment: datetime) -> None:
    """Write to the database until it can no longer read the snapshot of this time."""
    concern = {
        "level": "snapshot",
        "atClusterTime": Timestamp(moment + timedelta(seconds=1), 1),
    }  # within the second after that time
    with place.client() as client:
        client.admin.command("setParameter", 1, minSnapshotHistoryWindowInSeconds=1)

        def forgotten() -> bool:
            client["scratch"]["scratch"].insert_one({})
            try:
                client[f"{place.prefix}_projects"].command("find", "commits", readConcern=concern)
            except OperationFailure as error:
                return error.code == SNAPSHOT_TOO_OLD_CODE
            return False

        wait_until(forgotten, within=60)


def test_a_backup_does_not_overwrite_a_file(installations: tuple[Installation, Installation], tmp_path: Path) -> None:
    (tmp_path / "there").write_text("precious")
    with pytest.raises(SettingsError, match="exists; a backup does not overwrite"):
        backup_commands.backup(str(tmp_path / "there"), [])
    assert (tmp_path / "there").read_text() == "precious"


def test_a_backup_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, servers: Servers) -> None:
    set_environment(
        monkeypatch, Installation(servers, "test-none").environ | {"HEADRACE_MONGODB_URL": "mongodb://127.0.0.1:1/"}
    )
    with pytest.raises(OperatorError, match="MongoDB failed"):
        backup_commands.backup(str(tmp_path / "x.backup"), [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", sorted(GOLDEN_BACKUPS.glob("format-*.backup")), ids=lambda file: file.stem)
def test_a_backup_of_an_older_format_is_restored(
    file: Path, installations: tuple[Installation, Installation], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch, installations[1].environ | {"HEADRACE_BACKUP_KEY": "golden"})
    backup_commands.restore(str(file), purge=False)
    restored = installations[1].read_documents()
    assert restored["projects.commits"] == [
        commit_document(1, LONG_AGO),
        commit_document(1, LONG_AGO, version=2),
        commit_document(2, LONG_AGO),
    ]
    assert [len(restored[f"builds.{name}"]) for name in ("log_chunks", "file_pieces")] == [3, 4]
