"""The code of earlier releases, built from their commits and cached."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

RELEASE_COMMITS = {"0.2.0": "9d4f9f28e6dbebab6f40a867d633c2389d3d2381"}
REPOSITORY = Path(__file__).parents[3]
# With -P, Python does not import the current code from the working directory.
ISOLATED_COMMAND = (sys.executable, "-P", "-m", "infra")


class ReleaseNotBuildable(Exception):
    """The release cannot be built on this machine. The message says why."""


def get_release_code(release: str) -> Path:
    """Return a folder with the packages of the release. Raises ReleaseNotBuildable.

    The release runs with the dependencies of the current environment.
    """
    commit = _resolve_commit(RELEASE_COMMITS[release])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = cache / "headrace" / "releases" / commit
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=built.parent) as folder:
            _build_packages(commit, Path(folder))
            try:
                (Path(folder) / "packages").rename(built)
            except OSError:  # another test run has built the release at the same time
                shutil.rmtree(Path(folder) / "packages")
    return built


def release_environment(code: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which ISOLATED_COMMAND runs the release in the folder `code`."""
    return {**environ, "PYTHONPATH": str(code)}


def _resolve_commit(name: str) -> str:
    try:
        result = subprocess.run(
            ("git", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError as error:
        raise ReleaseNotBuildable("git is not installed") from error
    if result.returncode != 0:
        raise ReleaseNotBuildable(f"the commit {name} is not in this clone; fetch its whole history")
    return result.stdout.strip()


def _build_packages(commit: str, folder: Path) -> None:
    source, uv = folder / "source", Path(sys.executable).with_name("uv")
    source.mkdir()
    archive = subprocess.run(("git", "archive", commit), cwd=REPOSITORY, check=True, capture_output=True).stdout
    subprocess.run(("tar", "-x", "-C", str(source)), input=archive, check=True)
    options = ("--no-deps", "--no-build-isolation", "--offline", "--no-cache")
    command = (str(uv), "pip", "install", "--python", sys.executable, "--target", str(folder / "packages"), *options)
    try:
        result = subprocess.run((*command, str(source)), capture_output=True, text=True)
    except FileNotFoundError as error:
        raise ReleaseNotBuildable("uv is not installed beside Python") from error
    if result.returncode != 0:
        raise ReleaseNotBuildable(f"its wheel could not be built: {result.stderr.strip().splitlines()[-1]}")
