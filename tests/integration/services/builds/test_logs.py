"""Log sections: the pieces of a section read from the live log add up to its text in the finished log."""

from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from zlib import crc32

import pytest

from contracts.builds import Assignment, GetLiveLog, GetLogSection, LiveSection, LogEnd, LogSection
from contracts.errors import RequestRejected
from services.builds.execution import attempts
from services.builds.logs.log_lines import CUT_LINE_SUFFIX, MAX_RESPONSE_BYTES
from tests.support.external.repositories import create_sample_repository
from tests.support.in_process.build_stage import BuildStage, build_stage
from tests.support.infrastructure.servers import Servers

MAX_MESSAGE_BYTES = 1024 * 1024  # default max_payload of NATS


@pytest.fixture(scope="module")
async def stage(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BuildStage]:
    folder = tmp_path_factory.mktemp("site")
    repository = create_sample_repository(folder / "repository", {"build": "make", "test": "make"})
    async with build_stage(servers, folder, repository) as running:
        yield running


@dataclass
class RunningBuild:
    site: BuildStage
    build_id: int
    executor_id: str
    job: Assignment
    sent: int = 0

    @property
    def nonce(self) -> str:
        return str(self.job.script[0].partition("hr_")[2][:12])

    def step_log(self, place: int, text: str, *, closed: bool = True) -> str:
        """Return the log of one step, enclosed in the section markers that the job script prints."""
        end = f"section_end:2:hr_{self.nonce}_{place}\r\x1b[0K\n" if closed else ""
        return f"section_start:1:hr_{self.nonce}_{place}\r\x1b[0K{text}{end}"

    async def append(self, text: str) -> None:
        content = text.encode()
        await self.site.append_log(self.job, self.sent, content)
        self.sent += len(content)

    async def read_live(self, step: str, line_number: int) -> LiveSection:
        answer = await self.site.caller.query(
            GetLiveLog(executor_id=self.executor_id, step=step, line_number=line_number)
        )
        assert len(answer) < MAX_MESSAGE_BYTES
        return LiveSection.model_validate_json(answer)

    async def follow_live(self, step: str) -> list[str]:
        """Read the live log of a section from its start until there are no new lines."""
        lines: list[str] = []
        while (answer := await self.read_live(step, len(lines))).log:
            lines += answer.log.split("\n")[1:]
            assert answer.line_number == len(lines)
        return lines

    async def finish(self) -> None:
        await self.site.report(self.job, "success")
        await self.site.wait_until_ended(self.build_id)

    async def read_finished(self, after: str) -> str:
        """Read the section after the step `after` from the finished log, part by part."""
        texts: list[str] = []
        query = GetLogSection(build_id=self.build_id, step=after)
        while True:
            answer = await self.site.caller.query(query)
            assert len(answer) < MAX_MESSAGE_BYTES
            part = LogSection.model_validate_json(answer)
            texts.append(part.log)
            if not part.more:
                return "\n".join(texts)
            query = query.replace(line_number=part.lines)


@pytest.fixture
async def running_build(stage: BuildStage) -> RunningBuild:
    build_id = await stage.launch(await stage.create_project())
    job = await stage.claim()
    return RunningBuild(stage, build_id, (await stage.get_build(build_id)).executor_id, job)


async def write_in_pieces(running: RunningBuild, text: str, cuts: Sequence[int]) -> None:
    for start, end in pairwise((0, *cuts, len(text))):
        await running.append(text[start:end])


async def test_blank_lines_are_kept_and_crlf_line_ends_are_normalized(running_build: RunningBuild) -> None:
    await write_in_pieces(running_build, "one\n\ntwo\r\n\r\nnull\nlast", (1, 4, 5, 9, 10, 15))
    assert await running_build.follow_live("init") == ["one", "", "two", "", "null"]
    await running_build.finish()
    assert await running_build.read_finished("-1") == "one\n\ntwo\n\nnull\nlast"


@pytest.mark.parametrize(("offset", "content"), [(0, b"one"), (2, b"e\ntwo"), (3, b""), (9, b"x"), (5, b"two\n")])
async def test_a_log_chunk_must_start_at_the_end_of_the_log(
    running_build: RunningBuild, offset: int, content: bytes
) -> None:
    await running_build.append("one\n")
    with pytest.raises(RequestRejected) as refused:
        await running_build.site.append_log(running_build.job, offset, content)
    assert (refused.value.code, refused.value.detail) == ("LOG_RANGE", "4")


async def test_the_last_log_chunk_may_be_repeated(running_build: RunningBuild) -> None:
    await write_in_pieces(running_build, "one\ntwo\n", (4,))
    assert (await running_build.site.append_log(running_build.job, 4, b"two\n")).length == 8
    assert (await running_build.site.append_log(running_build.job, 8, b"")).length == 8
    assert await running_build.follow_live("init") == ["one", "two"]


@pytest.mark.parametrize("known", range(7))
async def test_a_live_reader_gets_the_missing_lines_regardless_of_chunk_borders(
    running_build: RunningBuild, known: int
) -> None:
    await write_in_pieces(running_build, "a\nbb\n\nccc\ndd\ne\nrest", (2, 3, 6, 7, 8, 13))
    lines = ["a", "bb", "", "ccc", "dd", "e"]
    answer = await running_build.read_live("init", known)
    assert answer.log == "".join(f"\n{line}" for line in lines[known:])
    assert answer.line_number == 6


async def test_a_live_reader_beyond_the_end_gets_the_number_of_lines(running_build: RunningBuild) -> None:
    await running_build.append("one\ntwo\nhalf of th")
    answer = await running_build.read_live("init", 99)
    assert (answer.step, answer.log, answer.line_number) == ("init", "", 2)
    await running_build.append("ree\n" + running_build.step_log(0, "first\n", closed=False))
    answer = await running_build.read_live("init", 99)
    assert (answer.step, answer.log, answer.line_number) == ("build", "first", 1)


async def test_a_section_without_lines_has_an_empty_log(running_build: RunningBuild) -> None:
    await running_build.append(running_build.step_log(0, "\n", closed=False))
    answer = await running_build.read_live("-1", 0)
    assert (answer.step, answer.log, answer.line_number) == ("build", "", 0)
    await running_build.append("\n")
    assert (await running_build.read_live("build", 0)).log == "\n"
    await running_build.finish()
    assert [await running_build.read_finished(after) for after in ("-1", "init")] == ["", ""]


async def test_the_last_line_of_a_closed_section_needs_no_newline(running_build: RunningBuild) -> None:
    await running_build.append(
        "before" + running_build.step_log(0, "one\ntwo") + running_build.step_log(1, "three\n", closed=False)
    )
    assert (await running_build.read_live("init", 0)).log == "\nbefore"
    assert (await running_build.read_live("init", 1)).log == "one\ntwo"
    assert (await running_build.read_live("build", 2)).step == "test"
    await running_build.finish()
    assert await running_build.read_finished("build") == "three"


async def test_a_log_larger_than_a_message_is_read_in_parts(running_build: RunningBuild) -> None:
    lines = [f"{number} \x1b[31m" + "x" * (number % 200) for number in range(20_000)]
    text = "\n".join(lines) + "\n"
    await write_in_pieces(running_build, text, range(100_000, len(text), 100_000))
    assert await running_build.follow_live("init") == lines
    await running_build.finish()
    assert (await running_build.read_finished("-1")).split("\n") == lines


async def test_a_line_larger_than_a_message_is_truncated_with_a_notice(running_build: RunningBuild) -> None:
    await running_build.append("\x1b" * (MAX_RESPONSE_BYTES // 2) + "\nafter\n")
    long, after = await running_build.follow_live("init")
    assert long.endswith(CUT_LINE_SUFFIX)
    assert after == "after"
    await running_build.finish()
    assert (await running_build.read_finished("-1")).split("\n") == [long, after]


async def test_a_log_above_the_limit_is_accepted_and_truncated(
    running_build: RunningBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "MAX_LOG_BYTES", 10)
    await write_in_pieces(running_build, "one\ntwo\nthree\nfour\nfive\n", (8, 14, 19))
    await running_build.finish()
    assert (
        await running_build.read_finished("-1")
        == "one\ntwo\nthree\n\nThe log is longer than 10 bytes; the rest is not kept."
    )


async def test_a_repeatedly_started_section_is_listed_once(running_build: RunningBuild) -> None:
    await running_build.append(
        running_build.step_log(0, "one\n") + running_build.step_log(0, "two\n") + running_build.step_log(0, "three\n")
    )
    await running_build.finish()
    assert await running_build.read_finished("init") == "one\ntwo\nthree"
    with pytest.raises(RequestRejected, match="LOG_NOT_FOUND"):
        await running_build.read_finished("build")


def final_report(offset: int, rest: bytes, log: bytes) -> dict[str, Any]:
    end = LogEnd(offset=offset, content=b64encode(rest))
    return {"log_end": end, "bytesize": len(log), "checksum": f"crc32:{crc32(log):08x}"}


async def test_the_end_of_a_log_can_be_sent_with_the_result(running_build: RunningBuild) -> None:
    site, job = running_build.site, running_build.job
    log = f"before{running_build.step_log(0, f'one {job.token}')}{running_build.step_log(1, 'two')}".encode()
    await running_build.append(log[:20].decode())
    report = final_report(20, log[20:], log)
    assert (await site.report(job, "success", **report)).accepted
    assert (await site.report(job, "success", **report)).accepted  # the response to the first report was lost
    await site.wait_until_ended(running_build.build_id)
    sections = [await running_build.read_finished(after) for after in ("-1", "init", "build")]
    assert sections == ["before", f"one {'*' * len(job.token)}", "two"]


async def test_an_end_that_does_not_continue_the_log_is_refused(running_build: RunningBuild) -> None:
    site, job, log = running_build.site, running_build.job, b"one\ntwo\n"
    await running_build.append("one\n")
    for report, code in (
        (final_report(6, log[6:], log), "LOG_RANGE"),
        (final_report(4, b"too\n", log), "LOG_CHECKSUM"),  # discards the log
        (final_report(4, log[4:], log), "LOG_RANGE"),
    ):
        with pytest.raises(RequestRejected, match=code):
            await site.report(job, "success", **report)
    assert (await site.report(job, "success", **final_report(0, log, log))).accepted
    await site.wait_until_ended(running_build.build_id)
    assert await running_build.read_finished("-1") == "one\ntwo"
