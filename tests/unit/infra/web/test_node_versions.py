"""Versions of Node.js that can build the web console."""

import pytest

from infra.web.node import is_recent


@pytest.mark.parametrize("version", ["v20.19.0\n", "v20.20.2\n", "v22.12.0\n", "v23.0.1\n", "v24.19.0\n"])
def test_versions_that_vite_supports_are_recent(version: str) -> None:
    assert is_recent(version)


@pytest.mark.parametrize("version", ["v18.20.4\n", "v20.18.1\n", "v21.7.0\n", "v22.11.0\n", "", "node: not found"])
def test_other_versions_are_not(version: str) -> None:
    assert not is_recent(version)
