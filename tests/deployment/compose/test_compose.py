"""docker-compose.yml in use: services are started, inspected, scaled, killed and removed."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infra.service_catalog import SERVICES
from tests.deployment.compose.composition import OTHER_SERVICES, OUR_SERVICES, Composition, find_skip_reason, run_docker
from tests.support.hostile_script import FILES, connect, hostile_script, results, take_memory

reason = find_skip_reason()
pytestmark = [pytest.mark.skipif(bool(reason), reason=reason), pytest.mark.timeout(900)]

SERVERS = {"mongo": 27017, "nats": 4222, "gateway": 8080, "proxy": 8080, "identity": 8081, "agent": 8081}
DOWN_WITHIN = 60.0  # maximum seconds of `down`; a process that ignores SIGTERM would add 10 or more


@pytest.fixture(scope="module")
def composition() -> Iterator[Composition]:
    composition = Composition.new()
    composition.run_compose("build", within=600)
    try:
        composition.run_compose("up", "--detach", "--wait", within=400)
        yield composition
    finally:
        composition.run_compose("down", "--volumes", check=False)


def find_successful_build(demo_output: str) -> str:
    """Return the number of the demo's build, which must have succeeded."""
    match = re.search(r"^Build (\d+) succeeded", demo_output, re.MULTILINE)
    assert match, demo_output
    return match[1]


def test_every_service_runs_once_and_is_healthy(composition: Composition) -> None:
    states = {
        service: [container["State"] for container in composition.inspect_containers(service)]
        for service in (*OUR_SERVICES, *OTHER_SERVICES)
    }
    assert {
        service: [state["Status"] for state in container_states] for service, container_states in states.items()
    } == {service: ["running"] for service in states}
    assert {state.get("Health", {}).get("Status") for [state] in states.values()} == {"healthy"}
    running = {
        container["Config"]["Labels"]["com.docker.compose.service"]
        for container in composition.inspect_containers()
        if container["State"]["Running"]
    }
    assert running == states.keys()


def test_the_api_answers_on_the_published_port(composition: Composition) -> None:
    assert httpx.get(f"http://127.0.0.1:{composition.port}/readyz").json() == {"ready": True, "reasons": {}}


def test_the_console_is_served_with_its_scripts(composition: Composition) -> None:
    address = f"http://127.0.0.1:{composition.port}"
    page = httpx.get(f"{address}/ui/")
    assert page.status_code == 200
    scripts = re.findall(r'<script[^>]* src="([^"]+)"', page.text)
    assert scripts
    for script in scripts:
        response = httpx.get(httpx.URL(f"{address}/ui/").join(script))
        assert (response.status_code, response.headers["content-type"].split(";")[0]) == (200, "text/javascript")
    assert httpx.get(f"{address}/").headers["location"].endswith("/ui/")


def test_every_container_has_limits(composition: Composition) -> None:
    limits = {
        container["Name"]: (container["HostConfig"]["Memory"], container["HostConfig"]["PidsLimit"])
        for container in composition.inspect_containers()
    }
    assert [name for name, (memory, pids) in limits.items() if not memory or not pids] == []


def test_our_containers_run_without_privileges(composition: Composition) -> None:
    containers = [container for service in OUR_SERVICES for container in composition.inspect_containers(service)]
    assert {container["HostConfig"]["ReadonlyRootfs"] for container in containers} == {True}
    [agent] = composition.inspect_containers("agent")
    others = [container for container in containers if container["Id"] != agent["Id"]]
    assert {container["Config"]["User"] for container in others} == {"10001:10001"}
    assert {(*container["HostConfig"]["CapDrop"], container["HostConfig"]["CapAdd"]) for container in others} == {
        ("ALL", None)
    }
    assert (agent["Config"]["User"], agent["HostConfig"]["CapDrop"]) == ("root", ["ALL"])
    assert agent["HostConfig"]["CapAdd"] == ["CHOWN", "DAC_OVERRIDE", "FOWNER"]
    with_socket = [item["Id"] for item in composition.inspect_containers() if "docker.sock" in str(item["Mounts"])]
    assert with_socket == [agent["Id"]]
    assert {tuple(container["HostConfig"]["SecurityOpt"]) for container in containers} == {("no-new-privileges:true",)}


def test_the_image_contains_no_build_tools(composition: Composition) -> None:
    tools = composition.run_inside(
        "builds", "bash", "-c", "type -p pip uv gcc cc make node npm mongod nats-server hatchling pytest"
    )
    assert tools.stdout == ""


def test_secrets_do_not_appear_in_container_metadata_or_logs(composition: Composition, tmp_path: Path) -> None:
    composition.run_compose("cp", "secrets:/deployment/secrets", str(tmp_path / "secrets"))
    secrets = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert len(secrets) > 10
    visible_text = str(composition.inspect_containers()) + composition.run_compose("logs", "--no-color").stdout
    visible_text += run_docker("history", "--no-trunc", composition.image)
    assert [name for name, secret in secrets.items() if secret in visible_text] == []


def test_services_log_json_objects_only(composition: Composition) -> None:
    for service in SERVICES:
        lines = composition.read_log_lines(service)
        assert lines
        assert [line for line in lines if not line.startswith("{") or "message" not in json.loads(line)] == []


def test_a_job_reaches_nothing_of_the_deployment_and_of_other_jobs(composition: Composition) -> None:
    servers = [
        f"{container['NetworkSettings']['Networks'][network]['IPAddress']}:{port}"
        for service, port in SERVERS.items()
        for container in composition.inspect_containers(service)
        for network in container["NetworkSettings"]["Networks"]
    ]
    attacks = FILES | {
        "reach a server by name": connect(*(f"{service}:{port}" for service, port in SERVERS.items())),
        "reach a server by address": connect(*servers),
        "reach the metadata of a cloud": connect("169.254.169.254:80"),
        "take memory without end": take_memory(5000),
    }
    found = results(composition.run_in_job(hostile_script(attacks)))
    assert found == dict.fromkeys(attacks, "stopped")


def test_the_demonstration_succeeds(composition: Composition) -> None:
    output = composition.run_demo()
    assert find_successful_build(output)
    assert "logging in with the token [MASKED]" in output


def test_a_second_up_changes_no_secret_and_registers_no_second_agent(composition: Composition) -> None:
    before = composition.run_inside("identity", "cat", "/run/secrets/admin-password").stdout
    composition.run_compose("up", "--detach", "--wait")
    assert composition.run_inside("identity", "cat", "/run/secrets/admin-password").stdout == before
    assert "Already registered" in composition.run_compose("logs", "agent-registration").stdout


def test_several_replicas_share_the_published_port(composition: Composition) -> None:
    composition.run_compose("up", "--detach", "--wait", "--scale", "builds=3", "--scale", "gateway=2")
    assert [len(composition.inspect_containers(service)) for service in ("builds", "gateway")] == [3, 2]
    assert "succeeded" in composition.run_demo()


@pytest.mark.parametrize("service", ["gateway", "builds", "identity", "agent"])
def test_a_killed_container_restarts_and_builds_continue(composition: Composition, service: str) -> None:
    composition.kill_container(service)
    assert "succeeded" in composition.run_demo()


@pytest.mark.parametrize("service", ["mongo", "nats"])
def test_nothing_is_lost_when_a_server_is_killed(composition: Composition, service: str) -> None:
    build = find_successful_build(composition.run_demo())
    history_command = ("run", "--rm", "--no-deps", "migrate", "history", "build", build)
    before = composition.run_compose(*history_command).stdout
    assert len(before.splitlines()) > 2
    composition.run_compose("kill", "--signal", "KILL", service)
    composition.run_compose("up", "--detach", "--wait", "--no-recreate", "--scale", "builds=3", "--scale", "gateway=2")
    assert composition.run_compose(*history_command).stdout == before
    assert "succeeded" in composition.run_demo()


def test_down_is_fast_and_removes_everything(composition: Composition) -> None:
    began = time.monotonic()
    composition.run_compose("down", "--volumes")
    assert time.monotonic() - began < DOWN_WITHIN
    assert composition.list_leftovers() == []
