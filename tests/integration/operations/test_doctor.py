"""`headrace doctor` on a healthy system and on systems with one real defect each."""

import asyncio
import base64
import json
import os
import re
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from pymongo.asynchronous.database import AsyncDatabase

from infra.backup.scope import RESTORE_MARKER_ID, RESTORE_MARKERS
from infra.doctor import environment_checks, nats_checks
from infra.doctor.diagnosis import diagnose
from infra.doctor.finding import Finding
from infra.local import ports
from infra.local.data_folder import DataFolder
from infra.local.mongod import MAX_TRANSACTION_SECONDS, mongod_program
from infra.local.nats_server import nats_server_program
from infra.local.process import Process
from infra.service_catalog import load_services
from libs.clock import Clock, now
from libs.documents import Document
from libs.messaging.subscription import REBUILDING
from libs.projections.projector import projection_collection
from libs.service.connections import create_mongo_client, get_database
from libs.settings import MailSecurity, MailSettings, Settings
from services.builds.queries.statistics import monthly_durations
from services.runners.app import service as runners
from tests.support.external.s3_server import BUCKET_SECRET_KEY, list_objects, s3_server
from tests.support.in_process.smtp_server import LOGIN, running_mail_server
from tests.support.in_process.stage import ServiceStage
from tests.support.in_process.whole_stage import build_system
from tests.support.infrastructure.nats_cluster import frozen, nats_cluster
from tests.support.stacks.running_stack import HEADRACE_COMMAND
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class ExaminedSystem:
    """A complete system with one online runner, and the findings of doctor about it."""

    settings: Settings

    async def findings(self, **changed: Any) -> dict[str, Finding]:
        _, found = await diagnose(replace(self.settings, **changed))
        return {finding.check: finding for finding in found}

    def database(self, service: str, client: Any) -> AsyncDatabase[Document]:
        return get_database(client, self.settings, service)

    async def migrate(self) -> None:
        await ServiceStage(self.settings).migrate(*load_services())


@pytest.fixture(scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ExaminedSystem]:
    async with build_system(
        tmp_path_factory.mktemp("doctor"), long_poll_seconds=0.5, runner_offline_seconds=1e6
    ) as running:
        assert (await (await running.register_runner()).request_job()).status_code == 204
        yield ExaminedSystem(replace(running.settings, url=str(running.http.base_url)))


async def test_doctor_reports_no_finding_for_a_healthy_system(system: ExaminedSystem) -> None:
    assert await system.findings() == {}


async def test_doctor_reports_a_missing_consumer(system: ExaminedSystem) -> None:
    async with ServiceStage(system.settings).connected() as bus:
        await bus.jetstream().delete_consumer("builds", "builds-retention")
        found = await system.findings()
    await system.migrate()
    assert set(found) == {"consumer.builds-retention"}
    assert "headrace migrate" in found["consumer.builds-retention"].todo


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
        await database["commits"].drop_indexes()
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
        stands = {"incarnation": REBUILDING, "sequence": 0, "event_id": ""}
        await positions.replace_one({"_id": "reactions-to-builds"}, stands, upsert=True)
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
    async with running_mail_server() as box:
        port = box.port if password == "wrong" else ports.find_free_port()
        mail = MailSettings("127.0.0.1", port, username=LOGIN[0], password=password, tls=MailSecurity.NONE)
        found = await system.findings(mail=mail)
    assert set(found) == {"mail"}
    assert not box.mails


async def test_doctor_reports_a_missing_bucket_and_leaves_no_objects_in_a_working_one(
    system: ExaminedSystem, tmp_path: Path
) -> None:
    with s3_server(tmp_path) as (_, bucket):
        assert await system.findings(bucket=bucket) == {}
        assert list_objects(bucket) == []
        found = await system.findings(bucket=replace(bucket, name="elsewhere"))
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


async def test_doctor_reports_a_missing_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert [finding.check async for finding in environment_checks.check_git()] == ["git"]


# ---- other servers


async def test_doctor_names_nats_servers_that_do_not_respond(tmp_path: Path) -> None:
    with nats_cluster(tmp_path) as cluster:
        dead, hanging, alive = cluster.addresses
        cluster.servers[0].kill()
        with frozen(cluster.servers[1]):
            found = [finding async for finding in nats_checks.check_servers(Settings(nats_url=cluster.url()))]
    assert [finding.check for finding in found] == [f"nats.server.{dead}", f"nats.server.{hanging}"]
    assert f"nats://{hanging} does not respond" in found[1].what
    assert alive not in str(found)
    assert cluster.folder.secret("nats-unlimited") not in str(found)


async def test_doctor_reports_a_stream_that_lost_an_event(tmp_path: Path) -> None:
    async with build_system(tmp_path, long_poll_seconds=0.5) as running:
        hurt = ExaminedSystem(replace(running.settings, url=str(running.http.base_url)))
        await (await running.register_runner()).request_job()
        async with ServiceStage(hurt.settings).connected() as bus:
            await eventually(partial(has_events, bus, "runners", 3))
            await bus.jetstream().delete_msg("runners", 2)
        found = await hurt.findings()
    assert set(found) == {"stream.runners", "relay.runners"}
    assert "has gaps" in found["stream.runners"].what


async def has_events(bus: Client, stream: str, events: int) -> bool:
    return (await bus.jetstream().stream_info(stream)).state.messages >= events


async def test_doctor_reports_databases_that_were_never_migrated(system: ExaminedSystem) -> None:
    found = await system.findings(database_prefix="never-migrated")
    assert {f"rows.{service.name}" for service in load_services()} | {"runners"} <= set(found)


async def test_doctor_reports_a_mongod_that_is_not_a_replica_set(system: ExaminedSystem, tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.prepare()
    program = mongod_program(folder)
    position = program.argv.index("--replSet")
    port = folder.port("mongod")
    argv = program.argv[:position] + program.argv[position + 2 :]
    server = Process(replace(program, argv=argv, is_ready=lambda: ports.is_taken("127.0.0.1", port)))
    server.start()
    try:
        server.wait_ready()
        found = await system.findings(mongodb_url=f"mongodb://127.0.0.1:{port}/?directConnection=true")
    finally:
        server.stop()
    assert set(found) == {"mongodb.replica_set"}


async def test_doctor_reports_a_nats_server_without_jetstream_and_with_a_small_max_payload(
    system: ExaminedSystem, tmp_path: Path
) -> None:
    folder = DataFolder(tmp_path)
    folder.prepare()
    config = tmp_path / "small.conf"
    port = ports.find_free_port()
    config.write_text(json.dumps({"host": "127.0.0.1", "port": port}))
    argv = (nats_server_program(folder).argv[0], "--config", str(config))
    server = Process(
        replace(nats_server_program(folder), argv=argv, is_ready=lambda: ports.is_taken("127.0.0.1", port))
    )
    server.start()
    try:
        server.wait_ready()
        found = await system.findings(nats_url=f"nats://127.0.0.1:{port}")
    finally:
        server.stop()
    silent = {f"service.{service.name}" for service in load_services()}
    assert set(found) == {"nats.jetstream", "nats.max_payload"} | silent


# ---- the command


def run_doctor(environ: Mapping[str, str], data: Path) -> tuple[int, dict[str, Any]]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    command = (*HEADRACE_COMMAND, "doctor", "--json", "--data", str(data))
    done = subprocess.run(command, env=own | dict(environ), capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


def test_doctor_ends_within_a_minute_and_reports_each_unreachable_part(tmp_path: Path) -> None:
    nowhere = {
        "HEADRACE_MONGODB_URL": f"mongodb://127.0.0.1:{ports.find_free_port()}/?replicaSet=x",
        "HEADRACE_NATS_URL": f"nats://127.0.0.1:{ports.find_free_port()}",
        "HEADRACE_MASTER_KEY": "A" * 43 + "=",
        "HEADRACE_PORT": str(ports.find_free_port()),
        "HEADRACE_MAIL_HOST": "127.0.0.1",
        "HEADRACE_MAIL_PORT": str(ports.find_free_port()),
    }
    started = time.monotonic()
    status, report = run_doctor(nowhere, tmp_path)
    assert (status, report["healthy"]) == (1, False)
    assert {finding["check"] for finding in report["findings"]} == {"mongodb", "nats", "gateway", "mail"}
    assert time.monotonic() - started < 60


def test_doctor_reports_an_invalid_setting(tmp_path: Path) -> None:
    status, report = run_doctor({"HEADRACE_PORT": "eighty"}, tmp_path)
    assert (status, [finding["check"] for finding in report["findings"]]) == (1, ["settings"])


async def test_doctor_reports_a_wrong_nats_password(system: ExaminedSystem, tmp_path: Path) -> None:
    environ = {
        "HEADRACE_MONGODB_URL": system.settings.mongodb_url,
        "HEADRACE_NATS_URL": f"nats://migrate:wrong@{system.settings.nats_url.rpartition('@')[2]}",
        "HEADRACE_MASTER_KEY": base64.b64encode(system.settings.master_keys[0]).decode(),
        "HEADRACE_DATABASE_PREFIX": system.settings.database_prefix,
        "HEADRACE_URL": system.settings.url,
    }
    _, report = await asyncio.to_thread(run_doctor, environ, tmp_path)
    assert [finding["what"] for finding in report["findings"]] == ["NATS rejects the login in HEADRACE_NATS_URL."]
