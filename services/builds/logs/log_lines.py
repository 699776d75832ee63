"""The lines of a section of a log, from any line on, as many as one message holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic_core import to_json

from libs.service.declaration import Context

MAX_RESPONSE_BYTES = 700 * 1024  # bytes of one answer's text as JSON: a message on the bus may hold no more than 1 MiB
MAX_LINE_CHARACTERS = MAX_RESPONSE_BYTES // 8  # characters of a line that no message holds
CUT_LINE_SUFFIX = " ... (the rest of this line is not shown)"


@dataclass(frozen=True, slots=True)
class LogLines:
    text: Sequence[str]
    line_number: int  # lines up to and including these
    more: bool  # there are further ones


async def read_lines_after(ctx: Context, attempt_id: str, section: int, line_number: int, *, closed: bool) -> LogLines:
    """What comes after the first `known` lines. A section that is not whole may end within a line: it is left out.

    A chunk knows how many lines end in it and before it, so what the reader has is not read again.
    """
    collection, here = ctx.collection("log_chunks"), {"attempt": attempt_id, "section": section}
    cursor = collection.find({**here, "lines": {"$gte": line_number}}).sort([("lines", 1), ("offset", 1), ("place", 1)])
    data, skip, read, all_read = b"", None, line_number, True
    async for chunk in cursor:
        if skip is None:
            skip = line_number - (chunk["lines"] - chunk["text"].count(b"\n"))
        elif len(data) > MAX_RESPONSE_BYTES and read > line_number:
            all_read = False
            break
        data, read = data + chunk["text"], chunk["lines"]
    if skip is None:
        return LogLines((), await _count_lines(ctx, here, closed=closed), more=False)
    *complete, last = data.split(b"\n", skip)[-1].decode(errors="replace").split("\n")
    lines = [line.removesuffix("\r") for line in (*complete, *([last] if closed and all_read and last else []))]
    shown = _fit_in_message(lines)
    return LogLines(shown, line_number + len(shown), more=not all_read or len(shown) < len(lines))


async def _count_lines(ctx: Context, here: dict[str, object], *, closed: bool) -> int:
    """How many lines there are; whoever asks believes to have more."""
    last = await ctx.collection("log_chunks").find_one(here, sort=[("lines", -1), ("offset", -1), ("place", -1)])
    if last is None:
        return 0
    return int(last["lines"]) + (closed and not last["text"].endswith(b"\n"))


def _fit_in_message(lines: Sequence[str]) -> Sequence[str]:
    size = 0
    for place, line in enumerate(lines):
        size += len(to_json(line))
        if size > MAX_RESPONSE_BYTES:
            return lines[:place] or [line[:MAX_LINE_CHARACTERS] + CUT_LINE_SUFFIX]
    return lines
