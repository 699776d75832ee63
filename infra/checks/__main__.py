"""`python -m infra.checks`: print every violation of the wording and layout rules; exit status 1 if there are any."""

import sys
from pathlib import Path

from infra.checks import layout, wording

ROOT = Path(__file__).parents[2]


def main() -> int:
    problems = [*wording.find_problems(ROOT), *layout.find_problems(ROOT)]
    for problem in problems or ["Wording and layout follow the rules."]:
        sys.stdout.write(f"{problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
