"""Local git repositories that builds clone."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

SPEC_FILE = "headrace.yaml"
HELLO_SCRIPT = "echo hello from the sample repository\n"
GIT_IDENTITY = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
}


@dataclass(frozen=True)
class Gate:
    """Holds up a build script until the test opens the gate."""

    file: Path

    @property
    def script(self) -> str:
        return f"while [ ! -e '{self.file}' ]; do sleep 0.05; done\n"

    def open(self) -> None:
        self.file.touch()


def run_git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(
        command, env=os.environ | GIT_IDENTITY, check=True, capture_output=True, text=True
    ).stdout.strip()


def create_sample_repository(
    folder: Path, steps: Mapping[str, str] | None = None, spec: str | bytes | None = None, branch: str = "main"
) -> Path:
    """Create a repository with a spec file. `steps`: shell command by step name, stored as scripts in /ci."""
    scripts = {"build": HELLO_SCRIPT} if steps is None else steps
    folder.mkdir(parents=True)
    run_git(folder, "init", "--quiet", "-b", branch)
    files = {f"ci/{name}.sh": text for name, text in scripts.items()}
    commit_files(folder, files | {SPEC_FILE: make_spec(scripts) if spec is None else spec})
    return folder


def make_spec(steps: Mapping[str, str]) -> str:
    listed = [{"name": f"@{name}", "script": f"/ci/{name}.sh"} for name in steps]
    return str(yaml.safe_dump({"version": "1.0", "from": "debian", "steps": listed}, sort_keys=False))


def commit_files(folder: Path, files: Mapping[str, str | bytes]) -> str:
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    run_git(folder, "add", "--all")
    run_git(folder, "commit", "--quiet", "--allow-empty", "--message", "a commit")
    return run_git(folder, "rev-parse", "HEAD")
