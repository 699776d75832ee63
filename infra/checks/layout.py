"""Layout rules: short files, folders with few modules, and one meaning per module name in a package tree."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from infra.checks.files import list_tracked_files

MAX_LINES = 300
MAX_MODULES_PER_FOLDER = 12
# Trees in which module names are unique. Unit tests mirror the packages, so their module names may repeat.
TREES = ("agent", "contracts", "gateway", "infra", "libs", "services/*", "tests/*")
MIRRORED_TREES = ("tests/unit",)

# Modules that have the same role wherever they occur.
STANDARD_NAMES = {
    "__init__", "__main__", "app", "commands", "queries", "policies", "projections", "workers", "metrics", "conftest",
}  # fmt: skip

# path or folder -> reason
LONG_FILES: dict[str, str] = {
    "tests/bench/bench.py": "one table of measurements, read from top to bottom",
    "tests/contract/test_event_store.py": "one suite for all implementations of the event store",
    "tests/releases/life.py": "one scenario, recorded for each release",
    "tests/support/stacks/audit.py": "one audit of a stack after faults",
    "tests/unit/builds/planning/test_jobs.py": "one table of pipeline keywords",
    "tests/unit/infra/test_kubernetes.py": "one suite for all manifests",
}
LARGE_FOLDERS: dict[str, str] = {}
REPEATED_NAMES: dict[str, str] = {
    "contracts:fields": "field types shared by the messages of one service",
}
UNCHECKED_TREES: dict[str, str] = {}


def find_problems(root: Path) -> Iterator[str]:
    modules = [path for path in list_tracked_files(root) if path.suffix == ".py" and not _is_unchecked(path)]
    yield from _find_long_files(root, modules)
    yield from _find_large_folders(modules)
    yield from _find_repeated_names(modules)


def _is_unchecked(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in UNCHECKED_TREES)


def _find_long_files(root: Path, modules: Sequence[Path]) -> Iterator[str]:
    for path in modules:
        lines = len((root / path).read_text().splitlines())
        if lines > MAX_LINES and str(path) not in LONG_FILES:
            yield f"{path}: {lines} lines; split it, at most {MAX_LINES} are allowed."


def _find_large_folders(modules: Sequence[Path]) -> Iterator[str]:
    counts: dict[Path, int] = defaultdict(int)
    for path in modules:
        if path.name not in ("__init__.py", "__main__.py"):
            counts[path.parent] += 1
    for folder, count in sorted(counts.items()):
        if count > MAX_MODULES_PER_FOLDER and str(folder) not in LARGE_FOLDERS:
            yield f"{folder}: {count} modules; move some to a package, at most {MAX_MODULES_PER_FOLDER} are allowed."


def _find_repeated_names(modules: Sequence[Path]) -> Iterator[str]:
    places: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in modules:
        tree = next(
            (
                str(Path(*path.parts[: pattern.count("/") + 1]))
                for pattern in TREES
                if path.parts[0] == pattern.split("/")[0]
            ),
            "",
        )
        if tree and tree not in MIRRORED_TREES and path.stem not in STANDARD_NAMES:
            places[tree, path.stem].append(path)
    for (tree, stem), paths in sorted(places.items()):
        if len(paths) > 1 and f"{tree}:{stem}" not in REPEATED_NAMES:
            places_text = ", ".join(map(str, paths))
            yield f"{tree}: {stem}.py exists {len(paths)} times ({places_text}); give each meaning its own name."
