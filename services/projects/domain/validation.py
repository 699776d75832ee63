"""Text that people type in: trimmed, and one line where one line is meant."""

from libs.eventstore.decider import RequestRejected


def require_line(text: str | None, code: str) -> str:
    """Refused with the code when there is nothing in it."""
    line = (text or "").strip()
    if not line:
        raise RequestRejected(code)
    if not line.isprintable():
        raise RequestRejected(
            "REQUEST_INVALID", "A name, path or address has no line breaks and no control characters."
        )
    return line


def require_secret_text(text: str | None, code: str) -> str:
    """Kept exactly as it is. No environment variable and no file of text can hold a NUL."""
    if not (text or "").strip():
        raise RequestRejected(code)
    if text is None or "\0" in text:
        raise RequestRejected("REQUEST_INVALID", "A secret value cannot contain a NUL character.")
    return text


def blank_to_none(text: str | None) -> str | None:
    return (text or "").strip() or None


def sort_unique(ids: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(ids)))
