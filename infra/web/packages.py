"""The npm packages of the console, installed from `web/package-lock.json`."""

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from infra.web.node import Node

WEB = Path("web")
INSTALLED = WEB / "node_modules/.installed"  # the lock file's hash, and "all" if the packages for checks are installed
FETCH_OPTIONS = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000")


class PackagesMissing(Exception):
    """npm could not install the packages."""


def install_packages(node: Node, *, for_checks: bool) -> None:
    """Install the packages of the build and, with `for_checks`, of the checks, unless they are installed.

    If that fails, removes `node_modules` and raises PackagesMissing.
    """
    lock = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
    installed = INSTALLED.read_text().split() if INSTALLED.is_file() else []
    if installed[:1] == [lock] and (not for_checks or "all" in installed):
        return
    omitted = () if for_checks else ("--omit=dev",)
    command = (*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    result = subprocess.run(
        (*command, *FETCH_OPTIONS, *omitted), cwd=WEB, env=node.environment, capture_output=True, text=True
    )
    if result.returncode:
        shutil.rmtree(WEB / "node_modules", ignore_errors=True)
        reason = next((line for line in result.stderr.splitlines() if "code" in line), "npm ci failed")
        reason = reason.removeprefix("npm error").strip().removeprefix("code ")
        raise PackagesMissing(f"npm could not install its packages ({reason or 'npm ci failed'})")
    INSTALLED.write_text(f"{lock} {'all' if for_checks else ''}\n")


def run_package(node: Node, package_program: str, arguments: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run a script of an installed package in `web/`. Return its exit status, and its output and errors as one text."""
    return subprocess.run(
        (node.program, f"node_modules/{package_program}", *arguments),
        cwd=WEB,
        env=node.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
