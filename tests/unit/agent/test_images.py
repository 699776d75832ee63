"""The Docker executor: image names, registry logins, container settings, and Docker's multiplexed output stream."""

import base64
import json
from pathlib import Path

import pytest

from agent.config import DockerSettings
from agent.executors.docker_client import DockerError, take_frames
from agent.executors.docker_containers import host_config
from agent.executors.docker_images import find_login, split_image
from agent.executors.services import service_aliases
from agent.protocol.job import Image, RegistryLogin


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("debian", ("debian", "latest")),
        ("python:3.13-slim", ("python", "3.13-slim")),
        ("host:5000/team/tool", ("host:5000/team/tool", "latest")),
        ("host:5000/team/tool:2", ("host:5000/team/tool", "2")),
        ("tool@sha256:abc", ("tool", "sha256:abc")),
    ],
)
def test_an_image_has_a_repository_and_a_tag(name: str, parts: tuple[str, str]) -> None:
    assert split_image(name) == parts


@pytest.mark.parametrize(
    ("image", "username"),
    [
        ("host:5000/tool", "job"),
        ("debian", "hub"),
        ("team/tool:1", "hub"),
        ("other.example/tool", None),
    ],
)
def test_a_registry_login_is_sent_only_to_its_registry(tmp_path: Path, image: str, username: str | None) -> None:
    file = tmp_path / "config.json"
    known = {"https://index.docker.io/v1/": "hub:pw", "host:5000": "file:pw"}
    auths = {host: {"auth": base64.b64encode(entry.encode()).decode()} for host, entry in known.items()}
    file.write_text(json.dumps({"auths": auths}))
    credentials = find_login(image, [RegistryLogin("host:5000", "job", "pw")], str(file))
    assert (credentials or {}).get("username") == username


def test_an_invalid_auth_file_is_named_without_its_content(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"auths": {"h": {"auth": "s3cret!"}}}')
    with pytest.raises(DockerError, match=r"docker\.auth_file cannot be read: \w+$"):
        find_login("h.example/x", [], str(file))


def test_a_service_has_aliases_from_its_name_and_image() -> None:
    service = Image("host:5000/team/store:2", aliases=("db",))
    assert service_aliases(service) == ["db", "host__team__store", "host-team-store"]


def test_the_docker_output_stream_is_split_into_frames() -> None:
    stream = b"\x01\0\0\0\0\0\0\x02hi" + b"\x02\0\0\0\0\0\0\x03you" + b"\x01\0\0\0\0"
    buffer = bytearray()
    frames = []
    for byte in stream:
        buffer.append(byte)
        frames += take_frames(buffer)
    assert (frames, bytes(buffer)) == ([b"hi", b"you"], b"\x01\0\0\0\0")


def test_a_container_drops_privileges_and_has_the_configured_limits() -> None:
    config = host_config(DockerSettings(memory="2g", cpus=1.5, pids=10))
    assert (config["Memory"], config["PidsLimit"]) == (2 * 1024**3, 10)
    assert config["CpuQuota"] == 1.5 * config["CpuPeriod"]
    assert (config["CapDrop"], config["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])
