"""The lines of a section of a log, from any line on, as many as one message holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic_core import to_json

from libs.service import Context

LARGEST = 700 * 1024  # bytes of one answer's text as JSON: a message on the bus may hold no more than 1 MiB
LONGEST = LARGEST // 8  # characters of a line that no message holds
CUT = " ... (the rest of this line is not shown)"


@dataclass(frozen=True, slots=True)
class Lines:
    text: Sequence[str]
    known: int  # lines up to and including these
    more: bool  # there are further ones


async def lines_after(ctx: Context, attempt_id: str, section: int, known: int, *, whole: bool) -> Lines:
    """What comes after the first `known` lines. A section that is not whole may end within a line: it is left out.

    A chunk knows how many lines end in it and before it, so what the reader has is not read again.
    """
    collection, here = ctx.collection("log_chunks"), {"attempt": attempt_id, "section": section}
    cursor = collection.find({**here, "lines": {"$gte": known}}).sort([("lines", 1), ("offset", 1), ("place", 1)])
    data, skip, read, all_read = b"", None, known, True
    async for chunk in cursor:
        if skip is None:
            skip = known - (chunk["lines"] - chunk["text"].count(b"\n"))
        elif len(data) > LARGEST and read > known:
            all_read = False
            break
        data, read = data + chunk["text"], chunk["lines"]
    if skip is None:
        return Lines((), await _count(ctx, here, whole=whole), more=False)
    *complete, last = data.split(b"\n", skip)[-1].decode(errors="replace").split("\n")
    lines = [line.removesuffix("\r") for line in (*complete, *([last] if whole and all_read and last else []))]
    shown = _fitting(lines)
    return Lines(shown, known + len(shown), more=not all_read or len(shown) < len(lines))


async def _count(ctx: Context, here: dict[str, object], *, whole: bool) -> int:
    """How many lines there are; whoever asks believes to have more."""
    last = await ctx.collection("log_chunks").find_one(here, sort=[("lines", -1), ("offset", -1), ("place", -1)])
    if last is None:
        return 0
    return int(last["lines"]) + (whole and not last["text"].endswith(b"\n"))


def _fitting(lines: Sequence[str]) -> Sequence[str]:
    size = 0
    for place, line in enumerate(lines):
        size += len(to_json(line))
        if size > LARGEST:
            return lines[:place] or [line[:LONGEST] + CUT]
    return lines
