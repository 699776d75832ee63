"""docker-compose.yml: limits, privileges, profiles and networks of every container. No Docker is needed."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.service_catalog import SERVICES

ROOT = Path(__file__).parents[4]
COMPOSITION = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
CONTAINERS: dict[str, dict[str, Any]] = COMPOSITION["services"]
DEVELOPMENT = {"demo", "mail", "telemetry"}


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_has_limits_of_memory_and_processes(name: str) -> None:
    assert {"mem_limit", "pids_limit"} <= CONTAINERS[name].keys()


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_gains_no_privileges(name: str) -> None:
    container = CONTAINERS[name]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "ipc", "devices"} & container.keys()
    if name != "mongo":  # its image starts as root and changes to another user
        assert container["cap_drop"] == ["ALL"]


def test_parts_for_development_are_started_on_request_only() -> None:
    assert {name for name, container in CONTAINERS.items() if "profiles" in container} == DEVELOPMENT
    needed = {other for container in CONTAINERS.values() for other in container.get("depends_on", ())}
    assert needed & DEVELOPMENT == set()
    settings = "".join(str(CONTAINERS[name]["environment"]) for name in ("notifications", "gateway"))
    assert "'HEADRACE_MAIL_HOST': '${HEADRACE_MAIL_HOST:-}'" in settings


def test_one_port_is_published_by_default() -> None:
    published = {name for name, container in CONTAINERS.items() if "ports" in container}
    assert published - DEVELOPMENT == {"proxy"}


def test_the_engine_socket_is_mounted_into_the_agent_only() -> None:
    assert [name for name, container in CONTAINERS.items() if "docker.sock" in str(container)] == ["agent"]


def test_the_processes_that_connect_to_other_servers_are_in_a_network_with_a_way_out() -> None:
    internal = {name for name, network in COMPOSITION["networks"].items() if network and network.get("internal")}
    outside = {name for name in (*SERVICES, "gateway") if set(CONTAINERS[name]["networks"]) - internal}
    assert outside == {"builds", "identity", "notifications"}
