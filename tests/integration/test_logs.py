"""Logs section by section: what a live reader gets bit by bit is what the finished log holds."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest

from contracts.builds import Assignment, LiveSection, LogSection, ReadLiveLog, ReadLog
from contracts.errors import Refused
from services.builds import attempts
from services.builds.lines import CUT, LARGEST
from tests.integration.builds_stage import Site, building_site
from tests.support.repositories import sample_repository
from tests.support.servers import Servers

MESSAGE = 1024 * 1024  # what a bus carries unless it was told otherwise


@pytest.fixture(scope="module")
async def site(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    repository = sample_repository(folder / "repository", {"build": "make", "test": "make"})
    async with building_site(servers, folder, repository) as site:
        yield site


@dataclass
class Running:
    site: Site
    build_id: int
    executor_id: str
    job: Assignment
    sent: int = 0

    @property
    def word(self) -> str:
        return str(self.job.script[0].partition("hr_")[2][:12])

    def step(self, place: int, text: str, *, closed: bool = True) -> str:
        """A step of the log, as the job's own program writes it."""
        end = f"section_end:2:hr_{self.word}_{place}\r\x1b[0K\n" if closed else ""
        return f"section_start:1:hr_{self.word}_{place}\r\x1b[0K{text}{end}"

    async def write(self, text: str) -> None:
        content = text.encode()
        await self.site.append(self.job, self.sent, content)
        self.sent += len(content)

    async def live(self, step: str, line_number: int) -> LiveSection:
        answer = await self.site.caller.ask(
            ReadLiveLog(executor_id=self.executor_id, step=step, line_number=line_number)
        )
        assert len(answer) < MESSAGE
        return LiveSection.model_validate_json(answer)

    async def followed(self, step: str) -> list[str]:
        """The lines of a section as a reader gets them who starts with none."""
        lines: list[str] = []
        while (answer := await self.live(step, len(lines))).log:
            lines += answer.log.split("\n")[1:]
            assert answer.line_number == len(lines)
        return lines

    async def end(self) -> None:
        await self.site.report(self.job, "success")
        await self.site.ended(self.build_id)

    async def finished(self, after: str) -> str:
        """All parts of a section of the finished log."""
        texts: list[str] = []
        query = ReadLog(build_id=self.build_id, step=after)
        while True:
            answer = await self.site.caller.ask(query)
            assert len(answer) < MESSAGE
            part = LogSection.model_validate_json(answer)
            texts.append(part.log)
            if not part.more:
                return "\n".join(texts)
            query = query.but(line_number=part.lines)


@pytest.fixture
async def running(site: Site) -> Running:
    build_id = await site.launch(await site.project())
    job = await site.claim()
    return Running(site, build_id, (await site.build(build_id)).executor_id, job)


async def pieces(running: Running, text: str, cuts: Sequence[int]) -> None:
    for start, end in pairwise((0, *cuts, len(text))):
        await running.write(text[start:end])


async def test_blank_lines_and_foreign_line_ends_stay_where_they_were(running: Running) -> None:
    await pieces(running, "one\n\ntwo\r\n\r\nnull\nlast", (1, 4, 5, 9, 10, 15))
    assert await running.followed("init") == ["one", "", "two", "", "null"]
    await running.end()
    assert await running.finished("-1") == "one\n\ntwo\n\nnull\nlast"


@pytest.mark.parametrize(("offset", "content"), [(0, b"one"), (2, b"e\ntwo"), (3, b""), (9, b"x"), (5, b"two\n")])
async def test_a_piece_begins_where_the_log_ends(running: Running, offset: int, content: bytes) -> None:
    await running.write("one\n")
    with pytest.raises(Refused) as refused:
        await running.site.append(running.job, offset, content)
    assert (refused.value.code, refused.value.detail) == ("LOG_RANGE", "4")


async def test_the_last_piece_may_be_told_again_by_who_did_not_hear_the_answer(running: Running) -> None:
    await pieces(running, "one\ntwo\n", (4,))
    assert (await running.site.append(running.job, 4, b"two\n")).length == 8
    assert (await running.site.append(running.job, 8, b"")).length == 8
    assert await running.followed("init") == ["one", "two"]


@pytest.mark.parametrize("known", range(7))
async def test_a_reader_gets_what_it_lacks_wherever_the_pieces_were_cut(running: Running, known: int) -> None:
    await pieces(running, "a\nbb\n\nccc\ndd\ne\nrest", (2, 3, 6, 7, 8, 13))
    lines = ["a", "bb", "", "ccc", "dd", "e"]
    answer = await running.live("init", known)
    assert answer.log == "".join(f"\n{line}" for line in lines[known:])
    assert answer.line_number == 6


async def test_a_reader_that_claims_too_many_lines_is_told_how_many_there_are(running: Running) -> None:
    await running.write("one\ntwo\nhalf of th")
    answer = await running.live("init", 99)
    assert (answer.step, answer.log, answer.line_number) == ("init", "", 2)
    await running.write("ree\n" + running.step(0, "first\n", closed=False))
    answer = await running.live("init", 99)
    assert (answer.step, answer.log, answer.line_number) == ("build", "first", 1)


async def test_a_section_without_lines_has_an_empty_log(running: Running) -> None:
    await running.write(running.step(0, "\n", closed=False))
    answer = await running.live("-1", 0)
    assert (answer.step, answer.log, answer.line_number) == ("build", "", 0)
    await running.write("\n")
    assert (await running.live("build", 0)).log == "\n"
    await running.end()
    assert [await running.finished(after) for after in ("-1", "init")] == ["", ""]


async def test_the_last_line_of_a_closed_section_needs_no_line_end(running: Running) -> None:
    await running.write("before" + running.step(0, "one\ntwo") + running.step(1, "three\n", closed=False))
    assert (await running.live("init", 0)).log == "\nbefore"
    assert (await running.live("init", 1)).log == "one\ntwo"
    assert (await running.live("build", 2)).step == "test"
    await running.end()
    assert await running.finished("build") == "three"


async def test_a_log_larger_than_a_message_arrives_whole(running: Running) -> None:
    lines = [f"{number} \x1b[31m" + "x" * (number % 200) for number in range(20_000)]
    text = "\n".join(lines) + "\n"
    await pieces(running, text, range(100_000, len(text), 100_000))
    assert await running.followed("init") == lines
    await running.end()
    assert (await running.finished("-1")).split("\n") == lines


async def test_a_line_larger_than_a_message_is_cut_and_says_so(running: Running) -> None:
    await running.write("\x1b" * (LARGEST // 2) + "\nafter\n")
    long, after = await running.followed("init")
    assert long.endswith(CUT)
    assert after == "after"
    await running.end()
    assert (await running.finished("-1")).split("\n") == [long, after]


async def test_a_log_without_end_is_taken_and_not_kept(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "LARGEST", 10)
    await pieces(running, "one\ntwo\nthree\nfour\nfive\n", (8, 14, 19))
    await running.end()
    assert await running.finished("-1") == "one\ntwo\nthree\n\nThe log is longer than 10 bytes; the rest is not kept."


async def test_a_step_that_is_said_to_begin_again_and_again_begins_once(running: Running) -> None:
    await running.write(running.step(0, "one\n") + running.step(0, "two\n") + running.step(0, "three\n"))
    await running.end()
    assert await running.finished("init") == "one\ntwo\nthree"
    with pytest.raises(Refused, match="LOG_NOT_FOUND"):
        await running.finished("build")
