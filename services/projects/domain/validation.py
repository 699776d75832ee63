from libs.eventstore.decider import RequestRejected


def require_line(text: str | None, code: str) -> str:
    """Return the trimmed text. Raise RequestRejected with the code if it is blank."""
    line = (text or "").strip()
    if not line:
        raise RequestRejected(code)
    if not line.isprintable():
        raise RequestRejected(
            "REQUEST_INVALID", "A name, path or URL cannot contain line breaks or control characters."
        )
    return line


def require_secret_text(text: str | None, code: str) -> str:
    """Return the text unchanged. Raise RequestRejected with the code if it is blank.

    A NUL character is rejected, because environment variables cannot contain it.
    """
    if not (text or "").strip():
        raise RequestRejected(code)
    if text is None or "\0" in text:
        raise RequestRejected("REQUEST_INVALID", "A secret value cannot contain a NUL character.")
    return text
