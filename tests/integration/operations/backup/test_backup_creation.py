"""Creation and verification of a backup: contents, pipes, and failures that leave no file."""

import os
import subprocess
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from bson import Timestamp
from pymongo.errors import OperationFailure

from infra.backup import backup_commands
from infra.backup.file_format import BackupError, Header
from infra.backup.file_writer import BackupWriter
from infra.backup.snapshot import create_backup
from infra.local.process import OperatorError
from infra.service_catalog import load_services
from libs.service.connections import create_mongo_client, get_database
from libs.settings import SettingsError
from tests.integration.operations.backup.installations import Installation, sample_documents, set_environment
from tests.support.infrastructure.servers import Servers, running_servers
from tests.support.stacks.running_stack import HEADRACE_COMMAND
from tests.support.waiting import wait_until

SNAPSHOT_TOO_OLD_CODE = 239


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
    """Write to the database until it can no longer read the snapshot at `moment`."""
    # the snapshot's cluster time lies in the second after `moment`
    concern = {"level": "snapshot", "atClusterTime": Timestamp(moment + timedelta(seconds=1), 1)}
    with place.client() as client:
        client.admin.command("setParameter", 1, minSnapshotHistoryWindowInSeconds=1)

        def is_forgotten() -> bool:
            client["scratch"]["scratch"].insert_one({})
            try:
                client[f"{place.prefix}_projects"].command("find", "commits", readConcern=concern)
            except OperationFailure as error:
                return error.code == SNAPSHOT_TOO_OLD_CODE
            return False

        wait_until(is_forgotten, within=60)


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
