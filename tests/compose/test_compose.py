"""docker-compose.yml as an operator uses it: started, looked at, scaled, damaged and taken away again."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.compose.composition import OURS, THEIRS, Composition, docker, why_not

reason = why_not()
pytestmark = [pytest.mark.skipif(bool(reason), reason=reason), pytest.mark.timeout(900)]

DOWN_WITHIN = 60.0  # seconds; a process that ignores SIGTERM would take 10 to 20 of them each, one after the other


@pytest.fixture(scope="module")
def composition() -> Iterator[Composition]:
    composition = Composition.new()
    composition.compose("build", within=600)
    try:
        composition.compose("up", "--detach", "--wait", within=400)
        yield composition
    finally:
        composition.compose("down", "--volumes", check=False)


def test_every_service_runs_once_and_is_healthy(composition: Composition) -> None:
    states = {service: [one["State"] for one in composition.containers(service)] for service in (*OURS, *THEIRS)}
    assert {service: [state["Status"] for state in found] for service, found in states.items()} == {
        service: ["running"] for service in states
    }
    assert {service for service, [state] in states.items() if state.get("Health", {}).get("Status") != "healthy"} == {
        "mail"  # has no check of its own
    }


def test_the_api_answers_on_the_published_port(composition: Composition) -> None:
    assert httpx.get(f"http://127.0.0.1:{composition.port}/readyz").json() == {"ready": True, "reasons": {}}


def test_our_containers_can_do_little(composition: Composition) -> None:
    found = [one for service in OURS for one in composition.containers(service)]
    assert {one["Config"]["User"] for one in found} == {"10001:10001"}
    assert {one["HostConfig"]["ReadonlyRootfs"] for one in found} == {True}
    assert {(*one["HostConfig"]["CapDrop"], one["HostConfig"]["CapAdd"]) for one in found} == {("ALL", None)}
    assert {tuple(one["HostConfig"]["SecurityOpt"]) for one in found} == {("no-new-privileges:true",)}


def test_the_image_has_nothing_to_build_with(composition: Composition) -> None:
    tools = composition.inside("builds", "bash", "-c", "type -p pip uv gcc cc make mongod nats-server hatchling pytest")
    assert tools.stdout == ""


def test_no_secret_is_seen_from_outside(composition: Composition, tmp_path: Path) -> None:
    composition.compose("cp", "secrets:/deployment/secrets", str(tmp_path / "secrets"))
    secrets = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert len(secrets) > 10
    seen = str(composition.containers()) + composition.compose("logs", "--no-color").stdout
    seen += docker("history", "--no-trunc", composition.image)
    assert [name for name, secret in secrets.items() if secret in seen] == []


@pytest.mark.parametrize("address", ["mongo:27017", "nats:4222", "identity:8081", "gateway:8080", "mail:1080"])
def test_a_build_reaches_the_proxy_and_no_server_behind_it(composition: Composition, address: str) -> None:
    host, _, port = address.partition(":")
    knock = f"timeout 3 bash -c ': > /dev/tcp/{host}/{port}'"
    assert composition.inside("agent", "bash", "-c", knock).returncode != 0
    assert composition.inside("agent", "bash", "-c", ": > /dev/tcp/proxy/8080").returncode == 0


def test_the_demonstration_succeeds(composition: Composition) -> None:
    shown = composition.demonstrated()
    assert "\nBuild 1 succeeded" in shown
    assert "logging in with the token [MASKED]" in shown


def test_up_again_changes_no_secret_and_registers_no_second_agent(composition: Composition) -> None:
    before = composition.inside("identity", "cat", "/run/secrets/admin-password").stdout
    composition.compose("up", "--detach", "--wait")
    assert composition.inside("identity", "cat", "/run/secrets/admin-password").stdout == before
    assert "Already registered" in composition.compose("logs", "agent-registration").stdout


def test_more_replicas_behind_the_same_port(composition: Composition) -> None:
    composition.compose("up", "--detach", "--wait", "--scale", "builds=3", "--scale", "gateway=2")
    assert [len(composition.containers(service)) for service in ("builds", "gateway")] == [3, 2]
    assert "succeeded" in composition.demonstrated()


@pytest.mark.parametrize("service", ["gateway", "builds", "identity", "agent"])
def test_what_is_killed_comes_back_and_builds_go_on(composition: Composition, service: str) -> None:
    composition.killed(service)
    assert "succeeded" in composition.demonstrated()


@pytest.mark.parametrize("service", ["mongo", "nats"])
def test_nothing_is_lost_with_a_server_that_is_killed(composition: Composition, service: str) -> None:
    told = ("run", "--rm", "--no-deps", "migrate", "history", "build", "1")
    before = composition.compose(*told).stdout
    composition.compose("kill", "--signal", "KILL", service)
    composition.compose("up", "--detach", "--wait", "--no-recreate", "--scale", "builds=3", "--scale", "gateway=2")
    assert composition.compose(*told).stdout == before
    assert "succeeded" in composition.demonstrated()


def test_down_is_quick_and_leaves_nothing(composition: Composition) -> None:
    began = time.monotonic()
    composition.compose("down", "--volumes")
    assert time.monotonic() - began < DOWN_WITHIN
    assert composition.left() == []
