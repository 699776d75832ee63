"""Restore of a backup: copied and rebuilt data, and rejected files, keys and installations."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contracts.identity import UserDeleted
from infra.backup import backup_commands, restore
from infra.local.process import OperatorError
from infra.migration import migrate
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from libs.messaging import cloudevents
from libs.messaging.nats_connection import connect
from libs.settings import Settings
from tests.integration.operations.backup.installations import (
    KEY,
    LONG_AGO,
    OTHER_KEY,
    SECOND_NAME,
    Documents,
    Installation,
    commit_document,
    sample_documents,
    set_environment,
    two_installations,
)
from tests.support.infrastructure.servers import Servers

GOLDEN_BACKUPS = Path(__file__).parent / "backups"
BACKED_UP_COLLECTIONS = set(sample_documents(LONG_AGO)) - {"projects.followers", "projects.view_project_builds_v1"}


async def publish_event(settings: Settings, subject: str) -> None:
    nats = await connect(settings, "test")
    await nats.jetstream().publish(subject, b"{}")
    await nats.close()


@dataclass(frozen=True)
class Restored:
    before: Documents  # content of the backed up installation
    after: Documents


@pytest.fixture(scope="module")
def restored(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Restored:
    file = str(tmp_path_factory.mktemp("restored") / "today.backup")
    with pytest.MonkeyPatch.context() as monkeypatch, two_installations(servers, monkeypatch) as (source, target):
        backup_commands.backup(file, [])
        set_environment(monkeypatch, target.environ)
        backup_commands.restore(file, purge=False)
        return Restored(source.read_documents(), target.read_documents())


def test_restore_copies_documents_that_cannot_be_rebuilt_from_the_event_log(restored: Restored) -> None:
    assert {name: restored.after[name] for name in BACKED_UP_COLLECTIONS} == {
        name: restored.before[name] for name in BACKED_UP_COLLECTIONS
    }


def test_restore_rebuilds_stream_heads_and_rows_from_the_event_log(restored: Restored) -> None:
    heads = {head["_id"]: head for head in restored.after["projects.streams"]}
    assert {name: (head["version"], head["commit"]) for name, head in heads.items()} == {
        "executor-1": (2, "command-1-2"),
        "executor-2": (1, "command-2-1"),
    }
    assert heads["executor-1"]["executor_v1"]["name"] == f"number 1, {SECOND_NAME}"


def test_restore_turns_checkpoints_into_the_time_up_to_which_events_were_handled(restored: Restored) -> None:
    [newest] = [document["at"] for document in restored.before["projects.commits"] if document["_id"] == "command-2-1"]
    assert restored.after["projects.handled"] == [
        {"_id": "reactions-to-projects", "before": newest - timedelta(minutes=10)}
    ]
    assert "projects.followers" not in restored.after


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


def test_restore_rejects_a_wrong_master_key_before_starting_servers(
    backup: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HEADRACE_MONGODB_URL", "HEADRACE_NATS_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HEADRACE_DATA", str(tmp_path / "new"))
    monkeypatch.setenv("HEADRACE_MASTER_KEY", OTHER_KEY)
    with pytest.raises(OperatorError, match="HEADRACE_MASTER_KEY does not contain"):
        backup_commands.restore(backup, purge=False)
    assert not (tmp_path / "new").exists()


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
    with monkeypatch.context() as patched:
        patched.setattr(restore, "finish_restore", _raise_keyboard_interrupt)
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


async def publish_erasure(settings: Settings, erased: UserDeleted, at: datetime) -> None:
    recorded = RecordedEvent(f"user-{erased.user_id}", 2, 0, erased, CommandMetadata("c", at))
    nats = await connect(settings, "test")
    headers = cloudevents.to_headers("identity", recorded)
    subject = cloudevents.event_subject("identity", recorded)
    await nats.jetstream().publish(subject, cloudevents.to_body(recorded), headers=headers)
    await nats.close()


def test_restore_lists_the_users_who_were_erased_since_the_backup(
    installations: tuple[Installation, Installation], backup: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, target = datetime.now(UTC), installations[1]
    backup_commands.restore(backup, purge=False)
    for erased, at in ((UserDeleted(user_id=7, user_uuid="u7"), now), (UserDeleted(user_id=8), LONG_AGO)):
        asyncio.run(publish_erasure(target.settings, erased, at))
    listed = tmp_path / "erasures.jsonl"
    listed.write_text(f'{{"user_id": 9, "user_uuid": "u9", "at": "{now.isoformat()}"}}\n')
    target.drop_databases()
    with monkeypatch.context() as patched:
        patched.setattr(restore, "finish_restore", _raise_keyboard_interrupt)
        with pytest.raises(KeyboardInterrupt):
            backup_commands.restore(backup, purge=True)
    backup_commands.restore(backup, purge=True, erasures_file=listed)  # the interrupted restore has purged JetStream
    restored = target.read_documents()["identity.erasures"]
    assert [(erasure["user_id"], erasure["user_uuid"]) for erasure in restored] == [(7, "u7"), (9, "u9")]


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
