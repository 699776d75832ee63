"""The coverage of a job: the number in the last match of a regular expression in its log.

Patterns use RE2, so that matching takes linear time.
"""

import asyncio
import re
from collections.abc import Iterable

from contracts.builds import JobRow
from libs.service.declaration import Context
from services.builds.pipeline.rules.patterns import compile_pattern

MAX_LINE_BYTES = 16 * 1024  # the rest of a longer line is not searched
COLORS = re.compile(rb"\x1b\[[0-9;]*[A-Za-z]")
NUMBER = re.compile(r"[0-9]{1,3}(?:[.,][0-9]{1,10})?")
MAX_PERCENT = 100.0


class CoverageSearch:
    """Searches the text of a log, which arrives in parts."""

    def __init__(self, literal: str) -> None:
        self._pattern = compile_pattern(literal)
        self._line = b""
        self.percent: float | None = None

    def feed(self, text: bytes) -> None:
        *lines, rest = text.split(b"\n")
        for line in lines:
            self._search(self._line + line)
            self._line = b""
        self._line = (self._line + rest)[:MAX_LINE_BYTES]

    def finish_line(self) -> None:
        self._search(self._line)
        self._line = b""

    def _search(self, line: bytes) -> None:
        text = COLORS.sub(b"", line[:MAX_LINE_BYTES]).rstrip(b"\r").decode(errors="replace")
        for match in self._pattern.finditer(text):
            groups = [group for group in match.groups() if group]
            if number := NUMBER.search(groups[-1] if groups else match.group()):
                percent = float(number.group().replace(",", "."))
                self.percent = round(percent, 2) if percent <= MAX_PERCENT else self.percent


async def find_coverage(ctx: Context, job: JobRow, attempt_id: str) -> float | None:
    """Return the coverage in percent, or None if the job has no pattern for it or its log has no match."""
    if job.planned is None or not job.planned.coverage:
        return None
    search, section = CoverageSearch(job.planned.coverage), 0
    chunks = ctx.collection("log_chunks").find({"attempt": attempt_id}, {"section": 1, "text": 1})
    async for chunk in chunks.sort([("section", 1), ("lines", 1), ("offset", 1), ("place", 1)]):
        if chunk["section"] != section:
            search.finish_line()
            section = chunk["section"]
        search.feed(chunk["text"])
        await asyncio.sleep(0)
    search.finish_line()
    return search.percent


def mean_coverage(jobs: Iterable[JobRow]) -> float | None:
    """Return the coverage of a build in percent: the mean of its jobs, as in GitLab. None if no job has a coverage."""
    known = [job.coverage for job in jobs if job.coverage is not None]
    return round(sum(known) / len(known), 2) if known else None
