"""Text that people type in: trimmed, and one line where one line is meant."""

from libs.deciding import Refused


def required_line(text: str | None, code: str) -> str:
    """Refused with the code when there is nothing in it."""
    line = (text or "").strip()
    if not line:
        raise Refused(code)
    if not line.isprintable():
        raise Refused("REQUEST_INVALID", "A name, path or address has no line breaks and no control characters.")
    return line


def required_secret(text: str | None, code: str) -> str:
    """Kept exactly as it is. No environment variable and no file of text can hold a NUL."""
    if not (text or "").strip():
        raise Refused(code)
    if text is None or "\0" in text:
        raise Refused("REQUEST_INVALID", "A secret value cannot contain a NUL character.")
    return text


def optional(text: str | None) -> str | None:
    return (text or "").strip() or None


def unique(ids: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(ids)))
