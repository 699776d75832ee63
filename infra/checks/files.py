"""The files that the checks read."""

import subprocess
from collections.abc import Iterator
from pathlib import Path


def list_tracked_files(root: Path) -> Iterator[Path]:
    """Yield the existing files under version control, relative to the root. Without git, yield all visible files."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True)
    names = listing.stdout.split("\0") if listing.returncode == 0 else _walk(root)
    yield from (Path(name) for name in names if name and (root / name).is_file())


def _walk(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            yield str(relative)
