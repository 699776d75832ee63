"""Backups of databases on a real server: what is in them, what is refused, and what a restore leaves where."""

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

from infra.backup import command, restoring
from infra.backup.container import BackupError, Header, Writer
from infra.backup.taking import take
from infra.local.process import StackError
from infra.migrate import all_services, migrate
from libs.connections import database_of, mongo
from libs.messaging import connect
from libs.security.sealing import MasterKeys
from libs.settings import Settings, SettingsError
from tests.support.servers import Servers, servers_in
from tests.support.stack import HEADRACE, SERVICES, until

KEY, OTHER_KEY = "A" * 43 + "=", "B" * 42 + "A="
SNAPSHOT_TOO_OLD = 239
OLD = datetime(2026, 1, 31, 12, tzinfo=UTC)
GOLDEN = Path(__file__).parent / "backups"
Documents = dict[str, list[dict[str, Any]]]  # by database, without its prefix, and collection


@dataclass(frozen=True)
class Place:
    """An empty system: databases under a prefix of their own."""

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

    def put(self, documents: Documents) -> None:
        with self.client() as client:
            for place, some in documents.items():
                service, collection = place.split(".")
                client[f"{self.prefix}_{service}"][collection].insert_many(some)

    def held(self) -> Documents:
        with self.client() as client:
            return {
                f"{service}.{name}": list(client[f"{self.prefix}_{service}"][name].find({}).sort("_id"))
                for service in SERVICES
                for name in client[f"{self.prefix}_{service}"].list_collection_names()
            }

    def drop(self) -> None:
        with self.client() as client:
            for service in SERVICES:
                client.drop_database(f"{self.prefix}_{service}")


def commit(number: int, at: datetime, version: int = 1) -> dict[str, Any]:
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


def data_key(subject: str) -> dict[str, Any]:
    master = MasterKeys.parse(KEY)
    return {"_id": subject, "wrapped": master.wrap(subject, bytes(32)), "kid": master.current}


def sample(now: datetime) -> Documents:
    """Decisions, logs and files of long ago and of this moment."""
    return {
        "projects.commits": [commit(1, OLD), commit(1, OLD, version=2), commit(2, now)],
        "projects.counters": [{"_id": "executor", "last": 20}],
        "projects.followers": [
            {"_id": "reactions-to-projects", "incarnation": "x", "sequence": 3, "event_id": "executor-2@1.0"}
        ],
        "projects.view_project_builds_v1": [{"_id": "1", "row": {}}],
        "identity.data_keys": [data_key("user-1"), data_key("user-2")],
        "builds.attempts": [{"_id": "hash", "job_id": 1, "finished": False}],
        "builds.log_chunks": [{"attempt": "hash", "text": b"line\n" * 1000} for _ in range(3)],
        "builds.file_pieces": [{"file": "f", "offset": n, "content": os.urandom(100_000)} for n in range(4)],
    }


KEPT = set(sample(OLD)) - {"projects.followers", "projects.view_project_builds_v1"}


@pytest.fixture
def places(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Place, Place]]:
    """A system with something in it, and an empty one."""
    source, target = (Place(servers, f"test-{uuid4().hex[:8]}") for _ in range(2))
    use(monkeypatch, source.environ)
    source.put(sample(datetime.now(UTC)))
    asyncio.run(without_streams(source.settings))
    yield source, target
    asyncio.run(without_streams(source.settings))
    source.drop()
    target.drop()


async def publish(settings: Settings, subject: str) -> None:
    nats = await connect(settings, "test")
    await nats.jetstream().publish(subject, b"{}")
    await nats.close()


async def without_streams(settings: Settings) -> None:
    nats = await connect(settings, "test")
    for stream in await nats.jetstream().streams_info():
        await nats.jetstream().delete_stream(str(stream.config.name))
    await nats.close()


def use(monkeypatch: pytest.MonkeyPatch, environ: Mapping[str, str]) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def backup(places: tuple[Place, Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Taken; from here on everything is about the empty system."""
    file = str(tmp_path / "today.backup")
    command.backup(file, [])
    use(monkeypatch, places[1].environ)
    return file


def test_what_does_not_follow_from_the_log_is_restored_as_it_was(places: tuple[Place, Place], backup: str) -> None:
    source, target = places
    command.restore(backup, purge=False)
    held, was = target.held(), source.held()
    assert {name: held[name] for name in KEPT} == {name: was[name] for name in KEPT}


def test_heads_and_rows_are_made_from_the_log(places: tuple[Place, Place], backup: str) -> None:
    command.restore(backup, purge=False)
    heads = {one["_id"]: one for one in places[1].held()["projects.streams"]}
    assert {name: (one["version"], one["commit"]) for name, one in heads.items()} == {
        "executor-1": (2, "command-1-2"),
        "executor-2": (1, "command-2-1"),
    }
    assert heads["executor-1"]["executor_v1"]["name"] == "number 1, named anew"


def test_positions_become_the_time_before_which_all_is_handled(places: tuple[Place, Place], backup: str) -> None:
    source, target = places
    command.restore(backup, purge=False)
    held = target.held()
    [newest] = [one["at"] for one in source.held()["projects.commits"] if one["_id"] == "command-2-1"]
    assert held["projects.handled"] == [{"_id": "reactions-to-projects", "before": newest - timedelta(minutes=10)}]
    assert "projects.followers" not in held


def test_logs_and_artifacts_may_be_left_out(
    places: tuple[Place, Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(tmp_path / "small.backup")
    command.backup(file, ["logs", "artifacts"])
    use(monkeypatch, places[1].environ)
    command.restore(file, purge=False)
    held = places[1].held()
    assert (held["builds.log_chunks"], held["builds.file_pieces"], len(held["builds.attempts"])) == ([], [], 1)


def test_a_backup_goes_through_a_pipe(places: tuple[Place, Place], tmp_path: Path) -> None:
    source, target = places
    sealed = {"HEADRACE_BACKUP_KEY": "a passphrase"}
    taken = subprocess.run(
        (*HEADRACE, "backup", "-"), env=os.environ | source.environ | sealed, capture_output=True, check=True
    )
    subprocess.run(
        (*HEADRACE, "restore", "-"), env=os.environ | target.environ | sealed, input=taken.stdout, check=True
    )
    assert target.held()["projects.commits"] == source.held()["projects.commits"]


def test_a_file_is_checked_without_a_system(backup: str, capsys: pytest.CaptureFixture[str]) -> None:
    command.verify(backup)
    said = capsys.readouterr().err
    assert "A sound backup" in said
    assert "HEADRACE_MASTER_KEY opens its 2 data keys." in said


def test_an_altered_file_is_refused_before_anything_is_written(places: tuple[Place, Place], backup: str) -> None:
    stored = bytearray(Path(backup).read_bytes())
    stored[-100] ^= 1
    Path(backup).write_bytes(stored)
    with pytest.raises(StackError, match=r"damaged|altered"):
        command.restore(backup, purge=False)
    assert places[1].held() == {}


def test_another_master_key_is_refused_before_anything_is_written(
    places: tuple[Place, Place], backup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_MASTER_KEY", OTHER_KEY)
    with pytest.raises(StackError, match="HEADRACE_MASTER_KEY does not hold it"):
        command.restore(backup, purge=False)
    assert places[1].held() == {}


def test_an_older_master_key_behind_a_comma_is_enough(
    backup: str, places: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_MASTER_KEY", f"{OTHER_KEY},{KEY}")
    command.restore(backup, purge=False)
    assert len(places[1].held()["identity.data_keys"]) == 2


def test_a_system_with_something_in_it_is_left_alone(places: tuple[Place, Place], backup: str) -> None:
    places[1].put({"runners.commits": [{"_id": "a", "stream": "runner-1", "version": 1}]})
    with pytest.raises(StackError, match="is not empty"):
        command.restore(backup, purge=False)
    assert set(places[1].held()) == {"runners.commits"}


def test_an_interrupted_restore_keeps_everybody_away_and_begins_again(
    places: tuple[Place, Place], backup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = places
    with monkeypatch.context() as dying:
        dying.setattr(restoring, "finish", _die)
        with pytest.raises(KeyboardInterrupt):
            command.restore(backup, purge=False)
    with pytest.raises(StackError, match="did not come to its end"):
        migrate(target.settings)
    command.restore(backup, purge=False)
    migrate(target.settings)
    assert target.held()["projects.commits"] == source.held()["projects.commits"]


async def _die(_databases: object) -> None:
    raise KeyboardInterrupt


def test_events_of_the_system_before_are_purged_only_when_told(places: tuple[Place, Place], backup: str) -> None:
    command.restore(backup, purge=False)
    asyncio.run(publish(places[1].settings, "evt.projects.executor-9.ExecutorCreated"))
    places[1].drop()
    with pytest.raises(StackError, match="JetStream still holds 1 events of projects"):
        command.restore(backup, purge=False)
    command.restore(backup, purge=True)
    assert len(places[1].held()["projects.commits"]) == 3


async def test_a_backup_that_takes_longer_than_the_database_remembers_says_what_to_do(tmp_path: Path) -> None:
    with servers_in(tmp_path) as servers:
        place = Place(servers, "test-slow")
        place.put(sample(datetime.now(UTC)))
        async with mongo(place.settings, "test") as client:
            databases = {one.name: database_of(client, place.settings, one.name) for one in all_services()}

            def begin(moment: datetime) -> Writer:
                forget(place, moment)
                return Writer(BytesIO(), Header("b1", moment, "0.1.0"))

            with pytest.raises(BackupError, match="minSnapshotHistoryWindowInSeconds"):
                await take(client, all_services(), databases, {}, begin, lambda _section: None)


def forget(place: Place, moment: datetime) -> None:
    """Have the database go on until it no longer knows what it was like then."""
    concern = {
        "level": "snapshot",
        "atClusterTime": Timestamp(moment + timedelta(seconds=1), 1),
    }  # after the moment, within the next second
    with place.client() as client:
        client.admin.command("setParameter", 1, minSnapshotHistoryWindowInSeconds=1)

        def forgotten() -> bool:
            client["scratch"]["scratch"].insert_one({})
            try:
                client[f"{place.prefix}_projects"].command("find", "commits", readConcern=concern)
            except OperationFailure as error:
                return error.code == SNAPSHOT_TOO_OLD
            return False

        until(forgotten, within=60)


def test_a_backup_replaces_no_file(places: tuple[Place, Place], tmp_path: Path) -> None:
    (tmp_path / "there").write_text("precious")
    with pytest.raises(SettingsError, match="is there already"):
        command.backup(str(tmp_path / "there"), [])
    assert (tmp_path / "there").read_text() == "precious"


def test_a_backup_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, servers: Servers) -> None:
    use(monkeypatch, Place(servers, "test-none").environ | {"HEADRACE_MONGODB_URL": "mongodb://127.0.0.1:1/"})
    with pytest.raises(StackError, match="MongoDB does not do it"):
        command.backup(str(tmp_path / "x.backup"), [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("format-*.backup")), ids=lambda file: file.stem)
def test_a_backup_of_an_older_format_is_restored(
    file: Path, places: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, places[1].environ | {"HEADRACE_BACKUP_KEY": "golden"})
    command.restore(str(file), purge=False)
    held = places[1].held()
    assert held["projects.commits"] == [commit(1, OLD), commit(1, OLD, version=2), commit(2, OLD)]
    assert [len(held[f"builds.{name}"]) for name in ("log_chunks", "file_pieces")] == [3, 4]
