"""`python -m infra.checks`: print violations of the rules. Exit status 1 if there are any."""

import sys
from pathlib import Path

from infra.checks import layout, links, wording

ROOT = Path(__file__).parents[2]


def main() -> int:
    problems = [problem for check in (wording, layout, links) for problem in check.find_problems(ROOT)]
    for problem in problems or ["Wording, layout and links follow the rules."]:
        sys.stdout.write(f"{problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
