"""Commands of `make`: build the console, check its sources, run its unit tests."""

import argparse
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from infra.web.node import Node, NodeMissing, require_node
from infra.web.packages import WEB, PackagesMissing, install_packages, run_package

VITE = "vite/bin/vite.js"
VITEST = "vitest/vitest.mjs"
OPENAPI_TYPESCRIPT = "openapi-typescript/bin/cli.js"
TSC = "typescript/bin/tsc"
BIOME = "@biomejs/biome/bin/biome"
SCHEMA = WEB / "generated/schema.d.ts"
CONTRACT = Path("contracts/openapi.json")
CANARY_ERRORS = 3  # number of errors planted in web/canary.ts


def build(*, required: bool = False) -> int:
    """Build the console. Return the exit status: without Node.js or the packages 0, or 1 if `required`."""
    try:
        node = require_node()
        sys.stdout.write("Building the web console ...\n")
        install_packages(node, for_checks=False)
    except (NodeMissing, PackagesMissing) as error:
        consequence = "" if required else " The API works; `make setup` tries again."
        sys.stderr.write(f"The web console is not built: {error}.{consequence}\n")
        return 1 if required else 0
    return _report(run_package(node, VITE, ("build", "--logLevel", "warn")))


def check() -> int:
    """Check types against the API's contract, and style. Return the exit status, 0 if Node.js is missing."""

    def check_with(node: Node) -> int:
        write_types(node)
        return check_types(node) or _report(run_package(node, BIOME, ("check", "--error-on-warnings")))

    return _with_all_packages("The web console is not checked", check_with)


def test() -> int:
    """Run the unit tests. Return the exit status, 0 if Node.js or the packages are missing.

    The tests are then skipped; `check` reports missing packages as an error.
    """
    return _with_all_packages(
        "The unit tests of the web console are skipped",
        lambda node: _report(run_package(node, VITEST, ("run",))),
        without_packages=0,
    )


def write_types(node: Node) -> None:
    """Generate TypeScript types from the OpenAPI document, if it has changed. Raises SystemExit if that fails."""
    if not SCHEMA.is_file() or SCHEMA.stat().st_mtime < CONTRACT.stat().st_mtime:
        result = run_package(node, OPENAPI_TYPESCRIPT, (f"../{CONTRACT}", "-o", "generated/schema.d.ts"))
        if result.returncode:
            raise SystemExit(result.stdout)


def check_types(node: Node) -> int:
    """Type-check the sources, and a file with planted errors, to verify that the checker finds exactly these errors."""
    result = run_package(node, TSC, ("-p", "tsconfig.canary.json", "--pretty", "false"))
    errors = [line for line in result.stdout.splitlines() if re.match(r"\S.*error TS\d+:", line)]
    planted = [error for error in errors if error.startswith("canary.ts(")]
    if len(planted) == len(errors) == CANARY_ERRORS:
        return 0
    sys.stdout.write("\n".join(error for error in errors if error not in planted) + "\n")
    if len(planted) != CANARY_ERRORS:
        sys.stdout.write(f"web/canary.ts: {len(planted)} of {CANARY_ERRORS} planted errors found.\n{result.stdout}")
    return 1


def _with_all_packages(consequence: str, command: Callable[[Node], int], without_packages: int = 1) -> int:
    """Return the exit status of `command`, 0 if Node.js is missing, or `without_packages` if packages are missing."""
    try:
        node = require_node()
    except NodeMissing as error:
        sys.stderr.write(f"{consequence}: {error}.\n")
        return 0
    try:
        install_packages(node, for_checks=True)
    except PackagesMissing as error:
        sys.stderr.write(f"{consequence}: {error}.\n")
        return without_packages
    return command(node)


def _report(result: subprocess.CompletedProcess[str]) -> int:
    if result.returncode:
        sys.stdout.write(result.stdout)
    return result.returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m infra.web", description=__doc__)
    parser.add_argument("command", choices=("build", "check", "test"))
    parser.add_argument("--required", action="store_true", help="build: fail if the packages cannot be installed")
    arguments = parser.parse_args()
    commands: dict[str, Callable[[], int]] = {
        "build": partial(build, required=arguments.required),
        "check": check,
        "test": test,
    }
    sys.exit(commands[arguments.command]())
