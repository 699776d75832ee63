"""The local stack with its embedded servers: start, restart, stop and error messages. STACK has no effect here."""

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pymongo
import pytest

from infra.local import ports
from infra.local.process import MAX_LOG_BYTES
from infra.local.servers import Servers, local_servers
from infra.service_catalog import SERVICES
from tests.support.local_stack import fake_processes
from tests.support.local_stack.fake_stack import FakeStack, read_environment
from tests.support.waiting import wait_until

PROCESS_NAMES = [
    *("mongod", "nats-server", "identity-0", "projects-0", "builds-0", "runners-0", "notifications-0"),
    *("gateway-0", "agent"),
]


@pytest.fixture
def embedded_stack(tmp_path: Path) -> Iterator[FakeStack]:
    stack = FakeStack(tmp_path / "data", ports.find_free_port())
    yield stack
    for process in stack.survivors():
        with contextlib.suppress(psutil.NoSuchProcess):  # the kernel kills all processes when the supervisor dies
            process.kill()


@pytest.fixture
def stack(embedded_stack: FakeStack, servers: Servers) -> FakeStack:
    """Return a stopped stack that will use the running test servers, for a faster start."""
    embedded_stack.environ |= {"HEADRACE_MONGODB_URL": servers.mongodb_url, "HEADRACE_NATS_URL": servers.nats_url}
    return embedded_stack


@pytest.fixture(scope="module")
def first_output(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeStack, str]]:
    """Run one stack for all tests that leave it running. Yield the stack and the output of its first start."""
    new_stack = FakeStack(tmp_path_factory.mktemp("lasting") / "data", ports.find_free_port())
    yield new_stack, new_stack.run("up").stdout
    new_stack.headrace("down")


@pytest.fixture
def shared_stack(first_output: tuple[FakeStack, str]) -> FakeStack:
    return first_output[0]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with local_servers(tmp_path_factory.mktemp("servers")) as started:
        yield started


def test_up_starts_all_processes_and_prints_url_and_initial_password(first_output: tuple[FakeStack, str]) -> None:
    stack, output = first_output
    password = (stack.data / "secrets" / "admin-password").read_text()
    assert f"http://127.0.0.1:{stack.port}" in output
    assert f"admin, password {password}" in output
    assert password not in (stack.data / "logs" / "supervisor.log").read_text()
    rows = json.loads(stack.headrace("status", "--json").stdout)
    assert [(row["name"], row["ready"]) for row in rows] == [(name, True) for name in PROCESS_NAMES]


def test_status_of_a_stopped_stack_is_readable_by_people_and_scripts(stack: FakeStack) -> None:
    answer = stack.headrace("status", "--json")
    assert (answer.returncode, json.loads(answer.stdout)) == (3, [])
    assert "not running" in answer.stderr


def test_status_names_processes_that_are_not_ready(shared_stack: FakeStack) -> None:
    process = shared_stack.find_pid("builds-0") or 0
    os.kill(process, signal.SIGSTOP)
    answer = shared_stack.headrace("status", "--json")
    os.kill(process, signal.SIGCONT)
    assert answer.returncode == 1
    assert [row["name"] for row in json.loads(answer.stdout) if not row["ready"]] == ["builds-0"]


def test_a_second_up_fails_because_the_stack_already_runs(shared_stack: FakeStack) -> None:
    second = shared_stack.run("up")
    assert second.returncode == 1
    assert "already running" in second.stdout
    assert shared_stack.is_ready()


def test_down_stops_all_processes_and_the_next_up_uses_the_same_data(embedded_stack: FakeStack) -> None:
    stack = embedded_stack
    stack.run("up")
    assert "Stopped the stack" in stack.headrace("down").stdout
    assert stack.survivors() == []
    again = stack.headrace("down")
    assert (again.returncode, "No stack is running" in again.stdout) == (0, True)
    output = stack.run("up").stdout
    assert "agent-registration" not in output
    assert (stack.data / "secrets" / "admin-password").read_text() not in output
    assert stack.headrace("status").returncode == 0


@pytest.mark.parametrize("name", ["mongod", "nats-server", "builds-0", "gateway-0", "agent"])
def test_a_killed_process_is_restarted(shared_stack: FakeStack, name: str) -> None:
    before = shared_stack.find_pid(name)
    os.kill(before or 0, signal.SIGKILL)
    wait_until(lambda: shared_stack.find_pid(name) not in {None, before})
    wait_until(shared_stack.is_ready)


def test_the_fork_server_is_replaced_after_its_end_and_its_processes_keep_running(shared_stack: FakeStack) -> None:
    pids = {process["name"]: process["pid"] for process in shared_stack.processes()}
    [fork_server] = shared_stack.fork_servers()
    fork_server.kill()
    for _ in range(2):  # the first start notices the end of the fork server, the second one starts another
        ended = {None, shared_stack.find_pid("builds-0")}
        os.kill(shared_stack.find_pid("builds-0") or 0, signal.SIGKILL)
        wait_until(partial(_has_other_pid, shared_stack, "builds-0", ended))
        wait_until(shared_stack.is_ready)
    assert [server.pid for server in shared_stack.fork_servers()] not in ([], [fork_server.pid])
    now = {process["name"]: process["pid"] for process in shared_stack.processes()}
    assert {name for name in pids if now[name] != pids[name]} == {"builds-0"}


def _has_other_pid(stack: FakeStack, name: str, pids: set[int | None]) -> bool:
    return stack.find_pid(name) not in pids


def test_process_lists_show_the_command_of_each_forked_process(shared_stack: FakeStack) -> None:
    names = (*SERVICES, "gateway")
    shown = [" ".join(psutil.Process(shared_stack.find_pid(f"{name}-0")).cmdline()).rstrip() for name in names]
    program = " ".join(fake_processes.COMMAND)
    assert shown == [*(f"{program} service {name}" for name in SERVICES), f"{program} gateway"]


def test_a_log_file_above_the_limit_is_rotated(shared_stack: FakeStack) -> None:
    log = shared_stack.data / "logs" / "builds-0.log"
    os.truncate(log, MAX_LOG_BYTES + 1)
    wait_until(lambda: log.stat().st_size == 0)
    assert log.with_suffix(".old.log").stat().st_size == MAX_LOG_BYTES + 1


def test_killing_the_supervisor_ends_all_processes(embedded_stack: FakeStack) -> None:
    embedded_stack.run("up")
    assert len(embedded_stack.survivors()) > len(PROCESS_NAMES)
    os.kill(int((embedded_stack.data / "run" / "lock").read_text()), signal.SIGKILL)
    wait_until(lambda: embedded_stack.survivors() == [])
    assert embedded_stack.headrace("status").returncode == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_foreground_supervisor_stops_all_processes(stack: FakeStack, number: signal.Signals) -> None:
    with stack.start_in_foreground() as supervisor:
        wait_until(lambda: stack.find_pid("agent"))
        supervisor.send_signal(number)
        output, _ = supervisor.communicate(timeout=15)
    assert supervisor.returncode == 0
    assert output.endswith("stopping ...\nstopped\n")
    assert stack.survivors() == []


def test_two_gateway_replicas_share_a_port_and_have_separate_health_ports(stack: FakeStack) -> None:
    stack.environ["HEADRACE_REPLICAS"] = "2"
    stack.run("up")
    gateways = [process for process in stack.processes() if process["name"].startswith("gateway")]
    assert [process["name"] for process in gateways] == ["gateway-0", "gateway-1"]
    assert len({process["health"] for process in gateways}) == 2
    assert len({process["address"] for process in gateways}) == 1


def test_a_command_connects_to_the_servers_of_the_running_stack(shared_stack: FakeStack) -> None:
    [nats] = [process["address"] for process in shared_stack.processes() if process["name"] == "nats-server"]
    login = (shared_stack.data / "secrets" / "nats-migrate").read_text()
    assert shared_stack.run("connected").stdout == nats.replace("://", f"://migrate:{login}@")


def test_status_prints_only_the_public_consumer_login(shared_stack: FakeStack) -> None:
    output = shared_stack.headrace("status", "--json").stdout
    shown = [file.name for file in (shared_stack.data / "secrets").iterdir() if file.read_text() in output]
    assert shown == ["nats-consumer"]


def test_a_port_in_use_is_one_error_line(stack: FakeStack) -> None:
    with socket.create_server(("127.0.0.1", stack.port)):
        refused = stack.run("up")
    assert refused.returncode == 1
    assert refused.stdout.startswith(f"headrace: Port {stack.port} on 127.0.0.1 is used")
    assert f"HEADRACE_PORT={stack.port + 1}" in refused.stdout
    assert stack.survivors() == []


def test_an_invalid_environment_variable_is_one_error_line(stack: FakeStack) -> None:
    stack.environ["HEADRACE_REPLICAS"] = "many"
    errors = stack.run("up").stderr.splitlines()
    assert errors == [
        "headrace: HEADRACE_REPLICAS should be a valid integer, unable to parse string as an integer, not 'many'."
    ]


def test_a_service_that_fails_to_start_stops_the_start_and_prints_the_end_of_its_log(stack: FakeStack) -> None:
    stack.environ["BROKEN_SERVICE"] = "builds"
    refused = stack.run("up")
    assert refused.returncode == 1
    assert "headrace: builds-0 exited with status 1, 3 times in a row; its log" in refused.stdout
    assert "RuntimeError: builds is configured to fail" in refused.stdout
    assert stack.survivors() == []


def test_configured_servers_replace_the_embedded_ones(stack: FakeStack) -> None:
    assert stack.run("up").returncode == 0
    assert [process["name"] for process in stack.processes()] == PROCESS_NAMES[2:]


def test_each_process_has_only_its_own_secrets_and_none_in_its_command_line(shared_stack: FakeStack) -> None:
    secrets = {file.name: file.read_text() for file in (shared_stack.data / "secrets").iterdir()}
    holders = {
        name: {
            process["name"]
            for process in shared_stack.processes()
            if any(value in entry for entry in read_environment(process))
        }
        for name, value in secrets.items()
    }
    services = set(PROCESS_NAMES[2:8])
    logins = {f"nats-{name.removesuffix('-0')}": {name} for name in services}
    logins |= {"nats-consumer": set(), "nats-migrate": set()}
    assert holders == {"admin-password": {"identity-0"}, "master-key": services} | logins
    commands = [" ".join(process.cmdline()) for process in shared_stack.survivors()]
    assert [command for command in commands if any(value in command for value in secrets.values())] == []


def test_acknowledged_data_survives_a_crash_of_both_servers(servers: Servers) -> None:
    with pymongo.MongoClient[dict[str, Any]](servers.mongodb_url) as client:
        journaled = pymongo.WriteConcern("majority", j=True)
        client.test.get_collection("notes", write_concern=journaled).insert_one({"_id": 1})
        for server in (servers.mongod, servers.nats):
            server.kill()
            server.start()
        for server in (servers.mongod, servers.nats):
            server.wait_ready()
        assert client.test.notes.find_one() == {"_id": 1}


def test_mongod_starts_on_another_port_with_existing_data(tmp_path: Path) -> None:
    with local_servers(tmp_path) as before:
        old_url = before.mongodb_url
    (tmp_path / "run" / "mongod.port").write_text(str(ports.find_free_port()))
    with (
        local_servers(tmp_path) as after,
        pymongo.MongoClient[dict[str, Any]](after.mongodb_url) as client,
    ):
        assert after.mongodb_url != old_url
        assert client.admin.command("hello")["isWritablePrimary"]


def test_a_missing_library_is_reported_with_the_package_to_install(tmp_path: Path, servers: Servers) -> None:
    known = "mongod: error while loading shared libraries: libcurl.so.4: cannot open shared object file"
    assert "apt-get install -y libcurl4" in servers.mongod.program.explain_failure(known)
