"""`python -m infra.sbom [folder]`: write the software bills of materials of the image, in CycloneDX JSON.

- `headrace-python.cdx.json`: the Python packages of the image, with the versions and hashes of requirements.txt
- `headrace-console.cdx.json`: the npm packages from which the web console is built

Packages of the base image and of Debian are not included: a scanner reads them from the image.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from infra.web.node import require_node
from libs.version import VERSION

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.txt"
TOOL_LOCK = Path(__file__).with_name("requirements.txt")
TOOL = Path(sys.prefix) / "sbom"  # a virtual environment of its own
# platform and Python version of the image
TARGET = ("--python-platform", "x86_64-unknown-linux-gnu", "--python-version", "3.13")


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in (("headrace-python", describe_python()), ("headrace-console", describe_console())):
        file = folder / f"{name}.cdx.json"
        file.write_text(json.dumps(document, indent=2) + "\n")
        sys.stdout.write(f"{file}: {len(document['components'])} packages\n")


def describe_python() -> dict[str, Any]:
    """Describe the packages that the Dockerfile installs."""
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder) / "requirements.txt"
        options = ("--extra", "server", "--constraint", str(LOCK), "--generate-hashes", "--no-header", "--quiet")
        _run(sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", *TARGET, *options, "-o", str(pinned))
        if unlocked := find_unlocked(pinned.read_text(), LOCK.read_text()):
            raise SystemExit(f"requirements.txt does not have {', '.join(unlocked)}; run `make lock`.")
        document: dict[str, Any] = json.loads(
            _run(_install_tool(), "requirements", "--output-reproducible", str(pinned))
        )
    purl = f"pkg:pypi/headrace@{VERSION}"
    document["metadata"]["component"] = {
        "bom-ref": purl, "type": "application", "name": "headrace", "version": VERSION, "purl": purl,
    }  # fmt: skip
    return document


def describe_console() -> dict[str, Any]:
    """Describe the packages of web/package-lock.json. npm requires a version, which web/package.json does not have."""
    node = require_node()
    options = ("--package-lock-only", "--omit=dev", "--sbom-format=cyclonedx", "--sbom-type=application")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "headrace-console"
        copy.mkdir()
        shutil.copy(ROOT / "web" / "package-lock.json", copy)
        package = json.loads((ROOT / "web" / "package.json").read_text())
        (copy / "package.json").write_text(json.dumps(package | {"version": to_semantic_version(VERSION)}))
        return dict(json.loads(_run(*node.npm, "sbom", *options, folder=copy, environment=dict(node.environment))))


def to_semantic_version(version: str) -> str:
    """Return a Python version in the form that npm and Helm require: `1.2.0.dev0` becomes `1.2.0-dev0`."""
    return re.sub(r"\.?(dev|a|b|rc)(?=\d)", r"-\1", version)


def find_unlocked(pinned: str, lock: str) -> list[str]:
    """Return the `name==version` of packages that the lock file does not have in this version."""
    return sorted(_pins(pinned) - _pins(lock))


def _pins(text: str) -> set[str]:
    return {line.split()[0] for line in text.splitlines() if "==" in line and line[0].isalnum()}


def _install_tool() -> str:
    program = TOOL / "bin" / "cyclonedx-py"
    if not program.exists() or program.stat().st_mtime < TOOL_LOCK.stat().st_mtime:
        uv = (sys.executable, "-m", "uv")
        _run(*uv, "venv", "--quiet", "--clear", str(TOOL))
        _run(*uv, "pip", "install", "--quiet", "--python", str(TOOL), "--require-hashes", "-r", str(TOOL_LOCK))
        program.touch()
    return str(program)


def _run(*command: str, folder: Path = ROOT, environment: dict[str, str] | None = None) -> str:
    result = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{' '.join(command[:5])} ... failed with exit status {result.returncode}")
    return result.stdout


if __name__ == "__main__":
    main(Path(sys.argv[1] if sys.argv[1:] else "dist"))
