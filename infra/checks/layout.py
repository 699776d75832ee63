"""Layout rules: short files, folders with few modules, and no module name twice in a package tree."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from infra.checks.files import list_tracked_files

MAX_LINES = 300
MAX_MODULES_PER_FOLDER = 12
# In each of these trees, a module name must not repeat. `services/*`: each folder in services is a tree. Unit tests
# mirror the packages, so their module names repeat.
TREES = ("agent", "client", "contracts", "gateway", "infra", "libs", "services/*", "tests/*")
MIRRORED_TREES = ("tests/unit",)

# module names that may repeat, because they have the same role in every folder
STANDARD_NAMES = {
    "__init__", "__main__", "app", "commands", "queries", "policies", "projections", "workers", "metrics", "conftest",
}  # fmt: skip

# other names that may repeat: `tree:module` -> reason
REPEATED_NAMES: dict[str, str] = {
    "contracts:fields": "field types shared by the messages of one service",
}


def find_problems(root: Path) -> Iterator[str]:
    modules = [path for path in list_tracked_files(root) if path.suffix == ".py"]
    yield from _find_long_files(root, modules)
    yield from _find_large_folders(modules)
    yield from _find_repeated_names(modules)


def _find_long_files(root: Path, modules: Sequence[Path]) -> Iterator[str]:
    for path in modules:
        lines = len((root / path).read_text().splitlines())
        if lines > MAX_LINES:
            yield f"{path}: {lines} lines; split it, at most {MAX_LINES} are allowed."


def _find_large_folders(modules: Sequence[Path]) -> Iterator[str]:
    counts: dict[Path, int] = defaultdict(int)
    for path in modules:
        if path.name not in ("__init__.py", "__main__.py"):
            counts[path.parent] += 1
    for folder, count in sorted(counts.items()):
        if count > MAX_MODULES_PER_FOLDER:
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
