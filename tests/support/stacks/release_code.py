"""The code of earlier releases, built from their commits into a cache, to run beside today's."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

RELEASE_COMMITS = {"0.2.0": "9d4f9f28e6dbebab6f40a867d633c2389d3d2381"}
REPOSITORY = Path(__file__).parents[3]
ISOLATED_COMMAND = (sys.executable, "-P", "-m", "infra")  # -P: the folder where it starts holds today's code


class ReleaseNotBuildable(Exception):
    """Why the release cannot be built here, as a sentence."""


def get_release_code(release: str) -> Path:
    """A folder with the packages of the release; its dependencies are today's. Raises NotBuildable."""
    commit = _resolve_commit(RELEASE_COMMITS[release])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = cache / "headrace" / "releases" / commit
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=built.parent) as place:
            _build_packages(commit, Path(place))
            try:
                (Path(place) / "packages").rename(built)
            except OSError:  # built by another run of the tests in this moment
                shutil.rmtree(Path(place) / "packages")
    return built


def release_environment(code: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment in which `ISOLATED` runs that code: PYTHONPATH comes before what is installed."""
    return {**environ, "PYTHONPATH": str(code)}


def _resolve_commit(name: str) -> str:
    try:
        found = subprocess.run(
            ("git", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError as error:
        raise ReleaseNotBuildable("git is not installed") from error
    if found.returncode != 0:
        raise ReleaseNotBuildable(f"the commit {name} is not in this clone; fetch its whole history")
    return found.stdout.strip()


def _build_packages(commit: str, place: Path) -> None:
    source, uv = place / "source", Path(sys.executable).with_name("uv")
    source.mkdir()
    archive = subprocess.run(("git", "archive", commit), cwd=REPOSITORY, check=True, capture_output=True).stdout
    subprocess.run(("tar", "-x", "-C", str(source)), input=archive, check=True)
    options = ("--no-deps", "--no-build-isolation", "--offline", "--no-cache")
    command = (str(uv), "pip", "install", "--python", sys.executable, "--target", str(place / "packages"), *options)
    try:
        done = subprocess.run((*command, str(source)), capture_output=True, text=True)
    except FileNotFoundError as error:
        raise ReleaseNotBuildable("uv is not installed beside Python") from error
    if done.returncode != 0:
        raise ReleaseNotBuildable(f"its wheel could not be built: {done.stderr.strip().splitlines()[-1]}")
