"""The doctor at a system that is well, and at systems in which one thing was really broken."""

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

from infra.backup.contents import NOTE, RESTORING
from infra.doctor import bus, surroundings
from infra.doctor.command import examined
from infra.doctor.finding import Finding
from infra.local import ports
from infra.local.folder import DataFolder
from infra.local.mongod import TRANSACTION_SECONDS, mongod
from infra.local.nats import nats_server
from infra.local.process import Process
from infra.migrate import all_services
from libs.clock import Clock, now
from libs.connections import Document, database_of, mongo
from libs.following import REBUILDING
from libs.settings import MailSecurity, MailSettings, Settings
from libs.views import view_collection
from services.builds.statistics import durations
from services.runners.app import service as runners
from tests.integration.mail_server import LOGIN, mail_server
from tests.integration.stage import Stage
from tests.integration.whole_stage import whole_stage
from tests.support import eventually
from tests.support.buckets import SECRET, objects, s3_server
from tests.support.nats_cluster import frozen, nats_cluster
from tests.support.stack import HEADRACE

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Patient:
    """A whole system, with a runner that is online."""

    settings: Settings

    async def findings(self, **changed: Any) -> dict[str, Finding]:
        _, found = await examined(replace(self.settings, **changed))
        return {one.check: one for one in found}

    def database(self, service: str, client: Any) -> AsyncDatabase[Document]:
        return database_of(client, self.settings, service)

    async def migrate(self) -> None:
        await Stage(self.settings).migrate(*all_services())


@pytest.fixture(scope="module")
async def patient(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Patient]:
    async with whole_stage(
        tmp_path_factory.mktemp("doctor"), long_poll_seconds=0.5, runner_offline_seconds=1e6
    ) as here:
        assert (await (await here.runner()).ask()).status_code == 204
        yield Patient(replace(here.settings, url=str(here.http.base_url)))


async def test_a_system_that_is_well_gives_no_finding(patient: Patient) -> None:
    assert await patient.findings() == {}


async def test_a_missing_consumer_is_told(patient: Patient) -> None:
    async with Stage(patient.settings).connected() as bus:
        await bus.jetstream().delete_consumer("builds", "builds-retention")
        found = await patient.findings()
    await patient.migrate()
    assert set(found) == {"consumer.builds-retention"}
    assert "headrace migrate" in found["consumer.builds-retention"].todo


async def test_other_settings_of_a_stream_are_told(patient: Patient) -> None:
    found = await patient.findings(stream_replicas=3)
    assert {f"stream.{one.name}" for one in all_services()} == set(found)
    assert "1 replicas instead of 3" in found["stream.builds"].what


async def test_a_missing_index_is_told(patient: Patient) -> None:
    async with mongo(patient.settings, "test") as client:
        await patient.database("builds", client)["log_chunks"].drop_indexes()
        found = await patient.findings()
    await patient.migrate()
    assert set(found) == {"indexes.builds"}
    assert "log_chunks(attempt" in found["indexes.builds"].what


async def test_indexes_with_other_settings_than_declared_are_told(patient: Patient) -> None:
    async with mongo(patient.settings, "test") as client:
        database = patient.database("builds", client)
        await database["file_pieces"].drop_indexes()
        await database["file_pieces"].create_index([("file", 1), ("offset", 1)])
        await database["commits"].drop_indexes()
        await database[view_collection(durations)].drop_indexes()
        found = await patient.findings()
    await patient.migrate()
    assert set(found) == {"indexes.builds"}
    for index in ("file_pieces(file, offset)", "commits(stream, version)", f"{view_collection(durations)}(row.months)"):
        assert index in found["indexes.builds"].what
    assert await patient.findings() == {}


async def test_rows_of_an_older_version_are_told(patient: Patient) -> None:
    async with mongo(patient.settings, "test") as client:
        views = patient.database("runners", client)["views"]
        await views.update_one({"_id": "runner"}, {"$set": {"version": 0}})
        found = await patient.findings()
    await patient.migrate()
    assert set(found) == {"rows.runners"}


async def test_a_replica_whose_clock_is_wrong_is_told(patient: Patient) -> None:
    behind = Clock(lambda: now() - timedelta(seconds=90))
    async with Stage(patient.settings).running(lambda: runners, instance="behind", clock=behind):

        async def told() -> bool:
            return "clock.runners" in await patient.findings()

        await eventually(told)
        found = await patient.findings()
    assert set(found) == {"clock.runners"}
    what = r"The clock of behind-0 \(runners\) is (89|90)\.\d s behind the database's\."
    assert re.fullmatch(what, found["clock.runners"].what)


async def test_an_interrupted_restore_is_told(patient: Patient) -> None:
    async with mongo(patient.settings, "test") as client:
        notes = patient.database("identity", client)[RESTORING]
        await notes.insert_one({"_id": NOTE})
        found = await patient.findings()
        await notes.drop()
    assert set(found) == {"restore"}


async def test_a_follower_that_waits_for_a_rebuild_is_told(patient: Patient) -> None:
    async with mongo(patient.settings, "test") as client:
        positions = patient.database("notifications", client)["followers"]
        stands = {"incarnation": REBUILDING, "sequence": 0, "event_id": ""}
        await positions.replace_one({"_id": "reactions-to-builds"}, stands, upsert=True)
        found = await patient.findings()
        await positions.delete_one({"_id": "reactions-to-builds"})
    assert set(found) == {"follower.reactions-to-builds"}


async def test_another_master_key_is_told(patient: Patient) -> None:
    found = await patient.findings(master_keys=(b"k" * 32,))
    assert {"master_key.identity", "master_key.runners"} <= set(found)
    assert "HEADRACE_MASTER_KEY" in found["master_key.identity"].todo


async def test_a_job_that_waits_for_long_is_told(patient: Patient) -> None:
    waits = {"status": "QUEUED", "queued_at": datetime.now(UTC) - timedelta(hours=1)}
    async with mongo(patient.settings, "test") as client:
        streams = patient.database("builds", client)["streams"]
        [job] = [one for one in all_services()[2].categories if one.name == "job"]
        await streams.insert_one({"_id": "job-99", job.row_field: waits})
        found = await patient.findings()
        await streams.delete_one({"_id": "job-99"})
    assert set(found) == {"queue"}


async def test_a_gateway_that_is_away_is_told(patient: Patient) -> None:
    assert set(await patient.findings(url=f"http://127.0.0.1:{ports.free_port()}")) == {"gateway"}


@pytest.mark.parametrize("password", ["wrong", LOGIN[1]])
async def test_a_mail_server_that_refuses_the_log_in_or_is_away_is_told(patient: Patient, password: str) -> None:
    async with mail_server() as box:
        port = box.port if password == "wrong" else ports.free_port()
        mail = MailSettings("127.0.0.1", port, username=LOGIN[0], password=password, tls=MailSecurity.NONE)
        found = await patient.findings(mail=mail)
    assert set(found) == {"mail"}
    assert not box.mails


async def test_a_bucket_that_is_missing_is_told_and_one_that_works_is_left_empty(
    patient: Patient, tmp_path: Path
) -> None:
    with s3_server(tmp_path) as (_, bucket):
        assert await patient.findings(bucket=bucket) == {}
        assert objects(bucket) == []
        found = await patient.findings(bucket=replace(bucket, name="elsewhere"))
    assert set(found) == {"bucket"}
    assert "elsewhere" in found["bucket"].what
    assert SECRET not in str(found)


async def test_transactions_that_lock_for_long_are_told(patient: Patient) -> None:
    async with mongo(patient.settings, "test") as client:
        await client.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=60)
        found = await patient.findings()
        await client.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=TRANSACTION_SECONDS)
    assert set(found) == {"mongodb.transactions"}


async def test_files_that_others_may_read_are_told(patient: Patient, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "master-key").write_text("x")
    (tmp_path / "secrets" / "master-key").chmod(0o644)
    found = await patient.findings(data=tmp_path)
    assert found["files"].todo == f"chmod 600 {tmp_path / 'secrets' / 'master-key'}"


async def test_a_disk_that_is_nearly_full_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mongodb").mkdir()
    monkeypatch.setattr(surroundings, "LEAST_FREE", 10**18)
    assert [one.check async for one in surroundings.disk(Settings(data=tmp_path))] == ["disk"]


async def test_a_missing_git_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert [one.check async for one in surroundings.git()] == ["git"]


# ---- other servers


async def test_servers_of_nats_that_do_not_answer_are_named(tmp_path: Path) -> None:
    with nats_cluster(tmp_path) as cluster:
        dead, hanging, alive = cluster.addresses
        cluster.servers[0].kill()
        with frozen(cluster.servers[1]):
            found = [one async for one in bus.servers(Settings(nats_url=cluster.url()))]
    assert [one.check for one in found] == [f"nats.server.{dead}", f"nats.server.{hanging}"]
    assert f"nats://{hanging} does not answer" in found[1].what
    assert alive not in str(found)
    assert cluster.folder.secret("nats-unlimited") not in str(found)


async def test_a_stream_that_lost_an_event_has_a_hole_and_less_than_the_log(tmp_path: Path) -> None:
    async with whole_stage(tmp_path, long_poll_seconds=0.5) as here:
        hurt = Patient(replace(here.settings, url=str(here.http.base_url)))
        await (await here.runner()).ask()
        async with Stage(hurt.settings).connected() as bus:
            await eventually(partial(holds, bus, "runners", 3))
            await bus.jetstream().delete_msg("runners", 2)
        found = await hurt.findings()
    assert set(found) == {"stream.runners", "relay.runners"}
    assert "has holes" in found["stream.runners"].what


async def holds(bus: Client, stream: str, events: int) -> bool:
    return (await bus.jetstream().stream_info(stream)).state.messages >= events


async def test_databases_that_were_never_migrated_are_told(patient: Patient) -> None:
    found = await patient.findings(database_prefix="nobody")
    assert {f"rows.{one.name}" for one in all_services()} | {"runners"} <= set(found)


async def test_a_mongod_that_is_no_replica_set_is_told(patient: Patient, tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.prepare()
    program = mongod(folder)
    place = program.argv.index("--replSet")
    port = folder.port("mongod")
    argv = program.argv[:place] + program.argv[place + 2 :]
    server = Process(replace(program, argv=argv, ready=lambda: ports.is_taken("127.0.0.1", port)))
    server.start()
    try:
        server.wait_ready()
        found = await patient.findings(mongodb_url=f"mongodb://127.0.0.1:{port}/?directConnection=true")
    finally:
        server.stop()
    assert set(found) == {"mongodb.replica_set"}


async def test_a_nats_server_without_jetstream_and_for_small_messages_is_told(patient: Patient, tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.prepare()
    config = tmp_path / "small.conf"
    port = ports.free_port()
    config.write_text(json.dumps({"host": "127.0.0.1", "port": port}))
    argv = (nats_server(folder).argv[0], "--config", str(config))
    server = Process(replace(nats_server(folder), argv=argv, ready=lambda: ports.is_taken("127.0.0.1", port)))
    server.start()
    try:
        server.wait_ready()
        found = await patient.findings(nats_url=f"nats://127.0.0.1:{port}")
    finally:
        server.stop()
    silent = {f"service.{one.name}" for one in all_services()}
    assert set(found) == {"nats.jetstream", "nats.max_payload"} | silent


# ---- as a command


def asked(environ: Mapping[str, str], data: Path) -> tuple[int, dict[str, Any]]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    command = (*HEADRACE, "doctor", "--json", "--data", str(data))
    done = subprocess.run(command, env=own | dict(environ), capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


def test_with_everything_down_it_ends_soon_and_tells_each(tmp_path: Path) -> None:
    nowhere = {
        "HEADRACE_MONGODB_URL": f"mongodb://127.0.0.1:{ports.free_port()}/?replicaSet=x",
        "HEADRACE_NATS_URL": f"nats://127.0.0.1:{ports.free_port()}",
        "HEADRACE_MASTER_KEY": "A" * 43 + "=",
        "HEADRACE_PORT": str(ports.free_port()),
        "HEADRACE_MAIL_HOST": "127.0.0.1",
        "HEADRACE_MAIL_PORT": str(ports.free_port()),
    }
    begun = time.monotonic()
    status, report = asked(nowhere, tmp_path)
    assert (status, report["healthy"]) == (1, False)
    assert {one["check"] for one in report["findings"]} == {"mongodb", "nats", "gateway", "mail"}
    assert time.monotonic() - begun < 60


def test_a_setting_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    status, report = asked({"HEADRACE_PORT": "eighty"}, tmp_path)
    assert (status, [one["check"] for one in report["findings"]]) == (1, ["settings"])


async def test_a_wrong_password_for_nats_is_told(patient: Patient, tmp_path: Path) -> None:
    environ = {
        "HEADRACE_MONGODB_URL": patient.settings.mongodb_url,
        "HEADRACE_NATS_URL": f"nats://migrate:wrong@{patient.settings.nats_url.rpartition('@')[2]}",
        "HEADRACE_MASTER_KEY": base64.b64encode(patient.settings.master_keys[0]).decode(),
        "HEADRACE_DATABASE_PREFIX": patient.settings.database_prefix,
        "HEADRACE_URL": patient.settings.url,
    }
    _, report = await asyncio.to_thread(asked, environ, tmp_path)
    assert [one["what"] for one in report["findings"]] == ["NATS refuses the login of HEADRACE_NATS_URL."]
