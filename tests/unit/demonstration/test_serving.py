"""The sample repository, served to a system that runs elsewhere."""

import socket
import subprocess
from pathlib import Path

import pytest

from infra.demonstration.repository import Repository, chosen, reachable
from infra.local.process import StackError


def test_the_sample_can_be_cloned_over_http_while_it_is_needed(tmp_path: Path) -> None:
    sample = chosen({}, tmp_path / "sample")
    with socket.create_server(("127.0.0.1", 0)) as system:
        url = f"http://127.0.0.1:{system.getsockname()[1]}"
        with reachable(sample, url) as served:
            clone = ["git", "clone", "--quiet", "--depth=1", served.address, str(tmp_path / "clone")]
            subprocess.run(clone, check=True, capture_output=True)
    assert (tmp_path / "clone" / "headrace.yaml").read_text() == (tmp_path / "sample" / "headrace.yaml").read_text()


def test_a_repository_of_ones_own_is_used_where_it_is() -> None:
    own = Repository("https://git.example.org/web.git", "*", "/headrace.yaml", is_sample=False)
    with reachable(own, "http://127.0.0.1:1") as used:
        assert used is own


def test_a_system_that_does_not_answer_is_told_in_words(tmp_path: Path) -> None:
    sample = chosen({}, tmp_path / "sample")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(StackError, match="does not answer"), reachable(sample, url):
        pass
