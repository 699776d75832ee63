"""Lines of a log section, starting at any line, as many as fit into one message."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic_core import to_json

from contracts.builds import LineTime
from libs.service.declaration import Context

MAX_RESPONSE_BYTES = 700 * 1024  # limit for the JSON text of the lines in one response
MAX_LINE_CHARACTERS = MAX_RESPONSE_BYTES // 8  # a longer line is cut if it does not fit into a message
CUT_LINE_SUFFIX = " ... (the rest of this line is not shown)"


@dataclass(frozen=True, slots=True)
class LogLines:
    text: Sequence[str]
    line_number: int  # number of the last line in `text`
    more: bool  # whether further lines exist
    times: Sequence[LineTime] = ()  # when the lines arrived; empty if unknown


async def read_lines_after(
    ctx: Context,
    attempt_id: str,
    section: int,
    line_number: int,
    *,
    closed: bool,
    max_lines: int | None = None,
    max_bytes: int = MAX_RESPONSE_BYTES,
) -> LogLines:
    """Return the lines of a section after `line_number`.

    The last, incomplete line is left out unless the section is closed. If `max_bytes` is less than MAX_RESPONSE_BYTES,
    the result can be empty because the first line does not fit.

    Each chunk stores how many lines of the section end in it or before it. The query thus skips the chunks that the
    reader already has.
    """
    chunks, of_section = ctx.collection("log_chunks"), {"attempt": attempt_id, "section": section}
    cursor = chunks.find({**of_section, "lines": {"$gte": line_number}}).sort(
        [("lines", 1), ("offset", 1), ("place", 1)]
    )
    data, skip, read, all_read = b"", None, line_number, True
    times: list[LineTime] = []
    async for chunk in cursor:
        begin = chunk["lines"] - chunk["text"].count(b"\n")
        if skip is None:
            skip = line_number - begin
        elif read > line_number and (len(data) > max_bytes or (max_lines and read - line_number >= max_lines)):
            all_read = False
            break
        data, read = data + chunk["text"], chunk["lines"]
        line = max(begin, line_number)
        if "at" in chunk and not (times and times[-1].line == line):
            times.append(LineTime(line=line, at=chunk["at"]))
    if skip is None:
        return LogLines((), await _count_lines(ctx, of_section, closed=closed), more=False)
    *complete, last = data.split(b"\n", skip)[-1].decode(errors="replace").split("\n")
    lines = [line.removesuffix("\r") for line in (*complete, *([last] if closed and all_read and last else []))]
    fitting = _fit_in_message(lines[:max_lines], max_bytes)
    end = line_number + len(fitting)
    more = not all_read or len(fitting) < len(lines)
    return LogLines(fitting, end, more, [time for time in times if time.line < end])


async def _count_lines(ctx: Context, of_section: dict[str, object], *, closed: bool) -> int:
    """Return the number of stored lines. Used when a client asks for lines beyond the end."""
    last = await ctx.collection("log_chunks").find_one(of_section, sort=[("lines", -1), ("offset", -1), ("place", -1)])
    if last is None:
        return 0
    return int(last["lines"]) + (closed and not last["text"].endswith(b"\n"))


def _fit_in_message(lines: Sequence[str], max_bytes: int) -> Sequence[str]:
    size = 0
    for index, line in enumerate(lines):
        size += len(to_json(line))
        if size > max_bytes:
            cut = [line[:MAX_LINE_CHARACTERS] + CUT_LINE_SUFFIX] if max_bytes == MAX_RESPONSE_BYTES else []
            return lines[:index] or cut
    return lines
