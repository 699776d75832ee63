"""Link rules: in Markdown files, the targets of relative links and the paths in backticks must exist."""

import re
from collections.abc import Iterator
from pathlib import Path

from infra.checks.files import list_tracked_files

LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]+)[^)]*\)")
CODE_PATH = re.compile(r"`((?:agent|contracts|docs|gateway|infra|libs|services|tests)/[\w./-]+)`")
UNCHECKED = ("CHANGELOG.md",)  # names files of earlier releases


def find_problems(root: Path) -> Iterator[str]:
    for path in list_tracked_files(root):
        if path.suffix == ".md" and str(path) not in UNCHECKED:
            for number, line in enumerate((root / path).read_text().splitlines(), 1):
                for target in LINK.findall(line):
                    if not (root / path.parent / target).exists():
                        yield f"{path}:{number}: the link {target} leads nowhere."
                for target in CODE_PATH.findall(line):
                    if not (root / target).exists():
                        yield f"{path}:{number}: {target} does not exist."
