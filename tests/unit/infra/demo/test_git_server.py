"""The git server of the demo, which serves the sample repository to a system on another machine."""

import socket
import subprocess
from pathlib import Path

import pytest

from infra.demo.repository import Repository, select_repository, serve_repository
from infra.local.process import OperatorError


def test_the_sample_repository_can_be_cloned_over_http(tmp_path: Path) -> None:
    sample = select_repository({}, tmp_path / "sample")
    with socket.create_server(("127.0.0.1", 0)) as system:
        url = f"http://127.0.0.1:{system.getsockname()[1]}"
        with serve_repository(sample, url) as served:
            clone = ["git", "clone", "--quiet", "--depth=1", served.url, str(tmp_path / "clone")]
            subprocess.run(clone, check=True, capture_output=True)
    assert (tmp_path / "clone" / "headrace.yaml").read_text() == (tmp_path / "sample" / "headrace.yaml").read_text()


def test_a_custom_repository_is_used_in_place() -> None:
    own = Repository("https://git.example.org/web.git", "*", "/headrace.yaml", is_sample=False)
    with serve_repository(own, "http://127.0.0.1:1") as used:
        assert used is own


def test_an_unreachable_system_gives_a_clear_error(tmp_path: Path) -> None:
    sample = select_repository({}, tmp_path / "sample")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(OperatorError, match="does not respond"), serve_repository(sample, url):
        pass
