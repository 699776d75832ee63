"""`make bench-compare`: compare bench-results.json with the last release, and mark figures worse by more than 10 %.

The figures of different machines cannot be compared: the file of a release names its machine. The exit status is 1 if a
figure is worse or missing.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

TOLERANCE = 0.1  # share by which a figure may be worse than in the release
RELEASES = Path(__file__).parent / "releases"
LAST_RELEASE = "0.2.0"
RESULTS_FILE = Path("bench-results.json")
HIGHER_IS_BETTER = {
    "commands_64.ours.rate": True,
    "reads_64.ours.rate": True,
    "no_ops.rate": True,
    "no_ops.cpu_ms": False,
    "dispatch.p50": False,
    "finished.p50": False,
    "fleet_dispatch.p50": False,
    "memory.pss": False,
}
"""The compared figures, by their path in the results."""


@dataclass(frozen=True)
class Comparison:
    name: str
    before: float
    after: float | None  # None: not measured

    @property
    def change(self) -> float | None:
        """Return the change as a share of the release's figure. Positive: better. None: not measured."""
        if self.after is None:
            return None
        change = self.after / self.before - 1
        return change if HIGHER_IS_BETTER[self.name] else -change

    @property
    def is_worse(self) -> bool:
        return self.change is None or self.change < -TOLERANCE


def compare(release: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[Comparison]:
    """Compare each figure that the release has. A figure that is missing in the results counts as worse."""
    for name in HIGHER_IS_BETTER:
        if (before := _find(release, name)) is not None:
            yield Comparison(name, before, _find(results, name))


def _find(results: Mapping[str, Any], name: str) -> float | None:
    value: Any = results
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return None if value is None else float(value)


def main() -> None:
    console = Console()
    if not RESULTS_FILE.is_file():
        sys.exit(f"{RESULTS_FILE} does not exist. Run `make bench` first.")
    release = json.loads((RELEASES / f"{LAST_RELEASE}.json").read_text())
    current = json.loads(RESULTS_FILE.read_text())
    if release["machine"]["cores"] != current["machine"]["cores"]:
        console.print("The figures come from machines with different numbers of cores.")
    table = Table("figure", LAST_RELEASE, "now", "change", "", title=f"Compared with {LAST_RELEASE}")
    rows = list(compare(release["results"], current["results"]))
    for row in rows:
        after, change = (
            ("-", "") if row.after is None or row.change is None else (f"{row.after:,.1f}", f"{row.change:+.0%}")
        )
        table.add_row(row.name, f"{row.before:,.1f}", after, change, "worse" if row.is_worse else "")
    console.print(table)
    sys.exit(any(row.is_worse for row in rows))


if __name__ == "__main__":
    main()
