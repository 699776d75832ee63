"""`headrace admin doctor` on a healthy system and on systems with one real defect each."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.backup.scope import RESTORE_MARKER_ID, RESTORE_MARKERS
from infra.doctor import database_checks, environment_checks
from infra.local import ports
from infra.local.mongod import MAX_TRANSACTION_SECONDS
from infra.service_catalog import load_services
from libs.clock import Clock, now
from libs.projections.projector import projection_collection
from libs.reactions.parking import COLLECTION, FailedEvent, ParkedEvents
from libs.retention.storage_sizes import DiskSpace
from libs.service.connections import create_mongo_client
from libs.settings import MailSecurity, MailSettings, Settings
from libs.subscriptions.checkpoints import REBUILDING
from services.builds.queries.statistics import monthly_durations
from services.runners.app import service as runners
from tests.integration.operations.doctor.examined_system import ExaminedSystem
from tests.support.external.s3_server import BUCKET_SECRET_KEY, list_objects, s3_server
from tests.support.in_process.service_stage import ServiceStage
from tests.support.in_process.smtp_server import LOGIN, running_mail_server
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(300)


async def test_doctor_reports_no_finding_for_a_healthy_system(system: ExaminedSystem) -> None:
    assert await system.findings() == {}


async def test_doctor_reports_a_missing_consumer(system: ExaminedSystem) -> None:
    async with ServiceStage(system.settings).connected() as bus:
        await bus.jetstream().delete_consumer("builds", "builds-retention")
        found = await system.findings()
    await system.migrate()
    assert set(found) == {"consumer.builds-retention"}
    assert "headrace server migrate" in found["consumer.builds-retention"].todo


async def test_doctor_reports_streams_with_other_settings(system: ExaminedSystem) -> None:
    found = await system.findings(stream_replicas=3)
    assert {f"stream.{service.name}" for service in load_services()} == set(found)
    assert "1 replicas instead of 3" in found["stream.builds"].what


async def test_doctor_reports_a_missing_index(system: ExaminedSystem) -> None:
    async with create_mongo_client(system.settings, "test") as client:
        await system.database("builds", client)["log_chunks"].drop_indexes()
        found = await system.findings()
    await system.migrate()
    assert set(found) == {"indexes.builds"}
    assert "log_chunks(attempt" in found["indexes.builds"].what


async def test_doctor_reports_indexes_with_other_settings_than_declared(system: ExaminedSystem) -> None:
    async with create_mongo_client(system.settings, "test") as client:
        database = system.database("builds", client)
        await database["file_pieces"].drop_indexes()
        await database["file_pieces"].create_index([("file", 1), ("offset", 1)])
        await database["commits"].drop_index([("stream", 1), ("version", 1)])
        await database[projection_collection(monthly_durations)].drop_indexes()
        found = await system.findings()
    await system.migrate()
    assert set(found) == {"indexes.builds"}
    for index in (
        "file_pieces(file, offset)",
        "commits(stream, version)",
        f"{projection_collection(monthly_durations)}(row.months)",
    ):
        assert index in found["indexes.builds"].what
    assert await system.findings() == {}


async def test_doctor_reports_rows_of_an_older_version(system: ExaminedSystem) -> None:
    async with create_mongo_client(system.settings, "test") as client:
        views = system.database("runners", client)["views"]
        await views.update_one({"_id": "runner"}, {"$set": {"version": 0}})
        found = await system.findings()
    await system.migrate()
    assert set(found) == {"rows.runners"}


async def test_doctor_reports_a_replica_with_a_skewed_clock(system: ExaminedSystem) -> None:
    behind = Clock(lambda: now() - timedelta(seconds=90))
    async with ServiceStage(system.settings).running(lambda: runners, instance="behind", clock=behind):

        async def is_reported() -> bool:
            return "clock.runners" in await system.findings()

        await eventually(is_reported)
        found = await system.findings()
    assert set(found) == {"clock.runners"}
    what = r"The clock of behind-0 \(runners\) is (89|90)\.\d s behind the database's\."
    assert re.fullmatch(what, found["clock.runners"].what)


async def test_doctor_reports_an_interrupted_restore(system: ExaminedSystem) -> None:
    async with create_mongo_client(system.settings, "test") as client:
        notes = system.database("identity", client)[RESTORE_MARKERS]
        await notes.insert_one({"_id": RESTORE_MARKER_ID})
        found = await system.findings()
        await notes.drop()
    assert set(found) == {"restore"}


async def test_doctor_reports_a_subscription_that_waits_for_a_rebuild(system: ExaminedSystem) -> None:
    async with create_mongo_client(system.settings, "test") as client:
        positions = system.database("notifications", client)["followers"]
        document = {"incarnation": REBUILDING, "sequence": 0, "event_id": ""}
        await positions.replace_one({"_id": "reactions-to-builds"}, document, upsert=True)
        found = await system.findings()
        await positions.delete_one({"_id": "reactions-to-builds"})
    assert set(found) == {"follower.reactions-to-builds"}


async def test_doctor_reports_a_wrong_master_key(system: ExaminedSystem) -> None:
    found = await system.findings(master_keys=(b"k" * 32,))
    assert {"master_key.identity", "master_key.runners"} <= set(found)
    assert "HEADRACE_MASTER_KEY" in found["master_key.identity"].todo


async def test_doctor_reports_a_job_that_waits_too_long(system: ExaminedSystem) -> None:
    waits = {"status": "QUEUED", "queued_at": datetime.now(UTC) - timedelta(hours=1)}
    async with create_mongo_client(system.settings, "test") as client:
        streams = system.database("builds", client)["streams"]
        [job] = [category for category in load_services()[2].categories if category.name == "job"]
        await streams.insert_one({"_id": "job-99", job.row_field: waits})
        found = await system.findings()
        await streams.delete_one({"_id": "job-99"})
    assert set(found) == {"queue"}


async def test_doctor_reports_an_unreachable_gateway(system: ExaminedSystem) -> None:
    assert set(await system.findings(url=f"http://127.0.0.1:{ports.find_free_port()}")) == {"gateway"}


@pytest.mark.parametrize("password", ["wrong", LOGIN[1]])
async def test_doctor_reports_a_mail_server_that_is_unreachable_or_rejects_the_login(
    system: ExaminedSystem, password: str
) -> None:
    async with running_mail_server() as mailbox:
        port = mailbox.port if password == "wrong" else ports.find_free_port()
        mail = MailSettings(host="127.0.0.1", port=port, username=LOGIN[0], password=password, tls=MailSecurity.NONE)
        found = await system.findings(mail=mail)
    assert set(found) == {"mail"}
    assert not mailbox.mails


async def test_doctor_reports_a_missing_bucket_and_leaves_no_objects_in_a_working_one(
    system: ExaminedSystem, tmp_path: Path
) -> None:
    with s3_server(tmp_path) as (_, s3):
        assert await system.findings(s3=s3) == {}
        assert list_objects(s3) == []
        found = await system.findings(s3=s3.model_copy(update={"bucket": "elsewhere"}))
    assert set(found) == {"bucket"}
    assert "elsewhere" in found["bucket"].what
    assert BUCKET_SECRET_KEY not in str(found)


async def test_doctor_reports_a_long_transaction_lifetime(system: ExaminedSystem) -> None:
    async with create_mongo_client(system.settings, "test") as client:
        await client.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=60)
        found = await system.findings()
        await client.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=MAX_TRANSACTION_SECONDS)
    assert set(found) == {"mongodb.transactions"}


async def test_doctor_reports_secret_files_readable_by_others(system: ExaminedSystem, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "master-key").write_text("x")
    (tmp_path / "secrets" / "master-key").chmod(0o644)
    found = await system.findings(data=tmp_path)
    assert found["files"].todo == f"chmod 600 {tmp_path / 'secrets' / 'master-key'}"


async def test_doctor_reports_a_nearly_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mongodb").mkdir()
    monkeypatch.setattr(environment_checks, "MIN_FREE_BYTES", 10**18)
    assert [finding.check async for finding in environment_checks.check_disk(Settings(data=tmp_path))] == ["disk"]


async def test_doctor_reports_when_the_database_disk_will_be_full(
    system: ExaminedSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def measure_disk(_database: object) -> DiskSpace:
        return DiskSpace(free_bytes=1000, total_bytes=10_000)

    monkeypatch.setattr(database_checks, "measure_disk", measure_disk)
    found = await system.findings()
    assert set(found) == {"storage"}
    assert "it is full in 0 days. Largest: " in found["storage"].what


async def test_doctor_reports_a_missing_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert [finding.check async for finding in environment_checks.check_git()] == ["git"]


async def test_doctor_reports_parked_events(system: ExaminedSystem) -> None:
    async with create_mongo_client(system.settings, "test") as client:
        database = system.database("builds", client)
        headers = {"ce-id": "build-17@1.0", "ce-type": "BuildQueued"}
        await ParkedEvents(database).park(FailedEvent("builds-planner", "builds", 1, headers, b"{}", ValueError(), 8))
        found = await system.findings()
        await database[COLLECTION].drop()
    assert set(found) == {"reactions.builds"}
    assert "builds-planner on build-17@1.0: ValueError" in found["reactions.builds"].what
