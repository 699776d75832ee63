"""`python -m tests.nightly.coverage_summary`: print the coverage of statements and branches by package.

It reads `.coverage/data`.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import coverage

ROOT = Path(__file__).parents[2]


@dataclass
class Total:
    statements: int = 0
    branches: int = 0
    covered: int = 0  # covered statements and branches

    @property
    def share(self) -> float:
        return self.covered / max(1, self.statements + self.branches)


def package_of(file: str) -> str:
    parts = Path(file).parts
    return "/".join(parts[:2]) if parts[0] == "services" and len(parts) > 2 else parts[0]


def main() -> None:
    measured = coverage.Coverage(config_file=str(ROOT / "pyproject.toml"))
    measured.load()
    report = ROOT / ".coverage" / "report.json"
    measured.json_report(outfile=str(report))
    totals = defaultdict[str, Total](Total)
    for file, report_of_file in json.loads(report.read_text())["files"].items():
        numbers = report_of_file["summary"]
        for total in (totals[package_of(file)], totals["all"]):
            total.statements += numbers["num_statements"]
            total.branches += numbers["num_branches"]
            total.covered += numbers["covered_lines"] + numbers["covered_branches"]
    print(f"{'branch coverage':24}{'statements':>12}{'branches':>10}{'covered':>9}")  # noqa: T201
    for package, total in sorted(totals.items(), key=lambda item: (item[0] == "all", item[0])):
        if total.statements:
            print(f"{package:24}{total.statements:12}{total.branches:10}{total.share:9.1%}")  # noqa: T201


if __name__ == "__main__":
    main()
