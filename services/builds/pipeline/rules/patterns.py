"""Regular expressions in slashes, matched with RE2 in linear time, so that no pattern can block the planner."""

from functools import lru_cache

import re2

MAX_PATTERN_LENGTH = 1000
MAX_PATTERN_MEMORY_BYTES = 256 * 1024  # limit for one compiled pattern
FLAGS = {"i": "i", "m": "m", "s": "s", "u": ""}


class PatternInvalid(Exception):
    """The pattern is invalid. The message says why."""


def is_pattern(text: str) -> bool:
    """Return whether the text has the form `/pattern/flags`."""
    return len(text) > 1 and text.startswith("/") and "/" in text[1:] and not text.rpartition("/")[2].strip("imsu")


@lru_cache(maxsize=64)
def compile_pattern(literal: str) -> "re2._Regexp":
    """Compile `/pattern/flags`. Raises PatternInvalid."""
    body, _, flags = literal[1:].rpartition("/")
    if len(body) > MAX_PATTERN_LENGTH:
        raise PatternInvalid(f"a pattern is longer than {MAX_PATTERN_LENGTH} characters")
    unknown = flags.strip("imsu")
    if unknown:
        raise PatternInvalid(f"the pattern {literal} has the unknown flag {unknown[0]}")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PATTERN_MEMORY_BYTES
    letters = "".join(FLAGS[flag] for flag in sorted(set(flags)))
    try:
        return re2.compile(f"(?{letters}){body}" if letters else body, options)
    except re2.error as error:
        reason = error.args[0]
        message = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise PatternInvalid(f"the pattern {literal} is not valid: {message}") from error


def matches_pattern(literal: str, text: str) -> bool:
    return compile_pattern(literal).search(text) is not None
