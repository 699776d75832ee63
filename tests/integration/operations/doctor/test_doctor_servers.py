"""`headrace admin doctor` with unsuitable or unreachable servers and with invalid settings."""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from infra.doctor import nats_checks
from infra.local import ports
from infra.local.data_folder import DataFolder
from infra.local.mongod import mongod_program
from infra.local.nats_server import nats_server_program
from infra.local.process import Process
from infra.service_catalog import load_services
from libs.settings import Settings
from tests.integration.operations.doctor.examined_system import ExaminedSystem
from tests.support.in_process.build_system import build_system
from tests.support.in_process.service_stage import ServiceStage
from tests.support.infrastructure.nats_cluster import frozen, nats_cluster
from tests.support.infrastructure.servers import running_servers
from tests.support.stacks.running_stack import HEADRACE_COMMAND
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(300)


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
    with running_servers(tmp_path) as servers:
        async with build_system(servers, tmp_path, long_poll_seconds=0.5) as running:
            damaged = ExaminedSystem(running.settings.model_copy(update={"url": str(running.http.base_url)}))
            await (await running.register_runner()).request_job()
            async with ServiceStage(damaged.settings).connected() as bus:
                await eventually(partial(has_events, bus, "runners", 3))
                await bus.jetstream().delete_msg("runners", 2)
            found = await damaged.findings()
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


async def test_doctor_reports_a_wrong_nats_password(system: ExaminedSystem) -> None:
    found = await system.findings(nats_url=f"nats://migrate:wrong@{system.settings.nats_url.rpartition('@')[2]}")
    assert [finding.what for finding in found.values()] == ["NATS rejects the login in HEADRACE_NATS_URL."]
