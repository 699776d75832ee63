"""Lines of a log section, starting at any line, as many as fit into one message."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic_core import to_json

from libs.service.declaration import Context

MAX_RESPONSE_BYTES = 700 * 1024  # JSON text of the lines in one response
MAX_LINE_CHARACTERS = MAX_RESPONSE_BYTES // 8  # a longer line is cut if it does not fit into a message
CUT_LINE_SUFFIX = " ... (the rest of this line is not shown)"


@dataclass(frozen=True, slots=True)
class LogLines:
    text: Sequence[str]
    line_number: int  # number of the last line in `text`
    more: bool  # whether further lines exist


async def read_lines_after(ctx: Context, attempt_id: str, section: int, line_number: int, *, closed: bool) -> LogLines:
    """Return the lines of a section after `line_number`.

    The last, incomplete line is left out unless the section is closed.

    Each chunk stores how many lines of the section end in it or before it. The query thus skips the chunks that the
    reader already has.
    """
    chunks, of_section = ctx.collection("log_chunks"), {"attempt": attempt_id, "section": section}
    cursor = chunks.find({**of_section, "lines": {"$gte": line_number}}).sort(
        [("lines", 1), ("offset", 1), ("place", 1)]
    )
    data, skip, read, all_read = b"", None, line_number, True
    async for chunk in cursor:
        if skip is None:
            skip = line_number - (chunk["lines"] - chunk["text"].count(b"\n"))
        elif len(data) > MAX_RESPONSE_BYTES and read > line_number:
            all_read = False
            break
        data, read = data + chunk["text"], chunk["lines"]
    if skip is None:
        return LogLines((), await _count_lines(ctx, of_section, closed=closed), more=False)
    *complete, last = data.split(b"\n", skip)[-1].decode(errors="replace").split("\n")
    lines = [line.removesuffix("\r") for line in (*complete, *([last] if closed and all_read and last else []))]
    fitting = _fit_in_message(lines)
    return LogLines(fitting, line_number + len(fitting), more=not all_read or len(fitting) < len(lines))


async def _count_lines(ctx: Context, of_section: dict[str, object], *, closed: bool) -> int:
    """Return the number of stored lines. Used when a client asks for lines beyond the end."""
    last = await ctx.collection("log_chunks").find_one(of_section, sort=[("lines", -1), ("offset", -1), ("place", -1)])
    if last is None:
        return 0
    return int(last["lines"]) + (closed and not last["text"].endswith(b"\n"))


def _fit_in_message(lines: Sequence[str]) -> Sequence[str]:
    size = 0
    for index, line in enumerate(lines):
        size += len(to_json(line))
        if size > MAX_RESPONSE_BYTES:
            return lines[:index] or [line[:MAX_LINE_CHARACTERS] + CUT_LINE_SUFFIX]
    return lines
