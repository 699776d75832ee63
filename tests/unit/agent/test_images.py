"""Names of images, the logins of their registries, and what the engine sends through one stream."""

import base64
import json
from pathlib import Path

import pytest

from agent.config import Docker
from agent.container import aliases, limits
from agent.engine import EngineError, pieces_of
from agent.images import login, split_image
from agent.job import Image, Login


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
def test_a_login_goes_to_its_own_registry_only(tmp_path: Path, image: str, username: str | None) -> None:
    file = tmp_path / "config.json"
    known = {"https://index.docker.io/v1/": "hub:pw", "host:5000": "file:pw"}
    auths = {host: {"auth": base64.b64encode(entry.encode()).decode()} for host, entry in known.items()}
    file.write_text(json.dumps({"auths": auths}))
    found = login(image, [Login("host:5000", "job", "pw")], str(file))
    assert (found or {}).get("username") == username


def test_an_unusable_file_of_logins_is_named_without_its_content(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"auths": {"h": {"auth": "s3cret!"}}}')
    with pytest.raises(EngineError, match=r"docker\.auth_file cannot be used: \w+$"):
        login("h.example/x", [], str(file))


def test_a_service_is_found_under_its_alias_and_its_image() -> None:
    service = Image("host:5000/team/store:2", aliases=("db",))
    assert aliases(service) == ["db", "host__team__store", "host-team-store"]


def test_output_is_taken_out_of_the_stream_piece_by_piece() -> None:
    stream = b"\x01\0\0\0\0\0\0\x02hi" + b"\x02\0\0\0\0\0\0\x03you" + b"\x01\0\0\0\0"
    buffer = bytearray()
    found = []
    for byte in stream:
        buffer.append(byte)
        found += pieces_of(buffer)
    assert (found, bytes(buffer)) == ([b"hi", b"you"], b"\x01\0\0\0\0")


def test_a_container_gets_few_rights_and_the_limits_of_the_file() -> None:
    wished = limits(Docker(memory="2g", cpus=1.5, pids=10))
    assert (wished["Memory"], wished["NanoCpus"], wished["PidsLimit"]) == (2 * 1024**3, 1_500_000_000, 10)
    assert (wished["CapDrop"], wished["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])
