"""Text from the server without control sequences, which names and logs of other users can contain."""

import json
import os
import re
import sys
from typing import Any

COLOR_SEQUENCE = re.compile(r"\x1b\[[0-9;:]*m")
# Escape sequences (CSI, OSC and others), and single control characters except tab and line feed
CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


def escape_controls(text: str) -> str:
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def clean_log_line(line: str, *, colors: bool) -> str:
    """Return the line without control sequences. With `colors`, sequences that set colors are kept.

    If carriage returns overwrite the line, return the text after the last one.
    """
    line = line.rstrip("\r").rpartition("\r")[2]
    if not colors:
        return CONTROL.sub("", line)
    cleaned = CONTROL.sub(lambda match: match[0] if COLOR_SEQUENCE.fullmatch(match[0]) else "", line)
    return f"{cleaned}\x1b[0m" if "\x1b" in cleaned else cleaned


def uses_colors() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_json(content: Any) -> None:
    print_text(_dump_json(content, indent=2))


def print_json_line(content: Any) -> None:
    """Print JSON on one line and flush it, because another program may read the output as it is written."""
    print_text(_dump_json(content))
    sys.stdout.flush()


def _dump_json(content: Any, indent: int | None = None) -> str:
    """Return JSON in which control characters are escaped."""
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


def print_text(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def print_note(text: str) -> None:
    """Print a message for the user on stderr."""
    sys.stderr.write(f"{text}\n")
