"""Wording rules: no figures of speech in prose, no retired names in code.

Prose: comments, docstrings and other strings in Python files, and the whole text of documents, manifests and scripts.
"""

import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from infra.checks.files import list_tracked_files

# Habits of speech that hide who does what to what.
PHRASES = re.compile(
    r"\b(whoever|whomever|nobody|somebody|anybody|is told|are told|it is said|anew|for ever|(?:is|are) away"
    r"|(?:is|are) over|(?-i:is none)"
    r"|wish(?:es|ed)?|meanwhile|in words|of its own accord|without a word|before your eyes)\b",
    re.IGNORECASE,
)

# Retired names: constants that do not say what they limit, and names of classes and functions that were renamed.
NAMES = re.compile(
    r"\b(_?(?:MOST|LONGEST|LARGEST|SHORTEST|FEW|AT_ONCE|PATIENCE|GRACE|SOON|APART|LASTING|REMEMBERED|GATHERING|SILENT|USUAL|LEAVING)"
    r"(?:_[A-Z]+)*|_?KEPT|Wary|Keeper|Happened|Remembered|Asked|Doorkeeper|Nursery|Refusal|Torn|Deposed|Overtaken"
    r"|told|said|wished|hire|weed|uproot)\b"
)

TEXT_SUFFIXES = {".md", ".yml", ".yaml", ".sh", ".toml", ".mjs", ".conf", ""}
SKIPPED = ("contracts/golden/*", "tests/releases/0.*", "requirements.txt", "*.json", "*/package-lock.json", "LICENSE")

# generated files, whose sources are checked instead
UNCHECKED: dict[str, str] = {
    "docs/developing/messages.md": "generated from contracts/ and services/, which are checked",
    "docs/using/cli.md": "generated from agent/ and infra/cli/, which are checked",
    "docs/operating/error-codes.md": "generated from contracts/, which is checked",
}


@dataclass(frozen=True, slots=True)
class Exemption:
    pattern: str  # glob that matches the path of the file
    word: str
    reason: str


EXEMPTIONS = (
    Exemption("infra/checks/*", "*", "lists the words"),
    Exemption("tests/unit/infra/test_repository_checks.py", "*", "tests the words"),
    Exemption("tests/integration/operations/backup/installations.py", "anew", "a name in recorded backups"),
    Exemption("tests/e2e/used_stack/scenes/*", "nobody", "a username that does not exist"),
    Exemption("tests/e2e/used_stack/scenes/*", "somebody", "a username at a forge"),
)


def find_problems(root: Path) -> Iterator[str]:
    for path in list_tracked_files(root):
        if any(fnmatch(str(path), pattern) for pattern in SKIPPED) or any(
            path.is_relative_to(one) for one in UNCHECKED
        ):
            continue
        if path.suffix == ".py":
            yield from _check_python(root, path)
        elif path.suffix in TEXT_SUFFIXES:
            for number, line in enumerate((root / path).read_text().splitlines(), 1):
                yield from _report(path, number, PHRASES.findall(line), "reword this phrase")


def _check_python(root: Path, path: Path) -> Iterator[str]:
    tokens = tokenize.generate_tokens(io.StringIO((root / path).read_text()).readline)
    for token in tokens:
        if token.type in (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)):
            for offset, line in enumerate(token.string.splitlines()):
                yield from _report(path, token.start[0] + offset, PHRASES.findall(line), "reword this phrase")
        elif token.type == tokenize.NAME:
            yield from _report(path, token.start[0], NAMES.findall(token.string), "rename this")


def _report(path: Path, number: int, words: list[str], remedy: str) -> Iterator[str]:
    for word in words:
        if not _is_exempt(path, word):
            yield f"{path}:{number}: {word}: {remedy}."


def _is_exempt(path: Path, word: str) -> bool:
    return any(fnmatch(str(path), one.pattern) and one.word in ("*", word.lower()) for one in EXEMPTIONS)
