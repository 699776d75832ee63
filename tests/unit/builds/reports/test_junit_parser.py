"""JUnit XML of several tools is read, and hostile or broken reports are cut off without an error."""

import gzip

import pytest

from contracts.builds import CaseStatus
from services.builds.reports import junit_parser, report_reader
from services.builds.reports.junit_parser import ParsedReport
from services.builds.reports.report_reader import ReportReader

PYTEST = """<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="4" time="1.5">
<testcase classname="tests.test_cart" name="test_total" time="0.012" file="tests/test_cart.py" line="7"/>
<testcase classname="tests.test_cart" name="test_tax" time="0.250">
  <failure message="assert 1 == 2">def test_tax():&#10;&gt;   assert 1 == 2</failure></testcase>
<testcase classname="tests.test_cart" name="test_currency"><skipped type="pytest.skip" message="no network"/></testcase>
<testcase classname="tests.test_cart" name="test_stock">
  <error message="failed on setup"><![CDATA[Traceback <most recent>]]></error></testcase>
</testsuite></testsuites>"""
SUREFIRE = """<testsuite xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" name="CartTest" time="0.1">
<properties><property name="a" value="b"/></properties>
<testcase name="adds" classname="CartTest" time="1,234.5"><system-out>failure</system-out></testcase>
<testcase name="removes" classname="CartTest" time="soon"><failure type="java.lang.AssertionError"/></testcase>
</testsuite>"""
BILLION_LAUGHS = """<!DOCTYPE testsuite [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>
<testsuite><testcase name="&b;"/></testsuite>"""
EXTERNAL = '<!DOCTYPE testsuite SYSTEM "file:///etc/passwd"><testsuite/>'


def read(content: bytes, artifact_format: str = "raw", chunk: int = 1000) -> ParsedReport:
    reader = ReportReader(artifact_format)
    for offset in range(0, len(content), chunk):
        for _ in reader.feed(content[offset : offset + chunk]):
            pass
    return reader.finish()


def suite(*cases: str) -> bytes:
    return f"<testsuite name='s'>{''.join(cases)}</testsuite>".encode()


def many(number: int, result: str = "") -> bytes:
    return suite(*(f"<testcase name='case {i}'>{result}</testcase>" for i in range(number)))


@pytest.fixture(params=[7, 100_000])
def chunk(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_a_report_of_pytest_is_read(chunk: int) -> None:
    report = read(PYTEST.encode(), chunk=chunk)
    assert report.warnings == []
    counts = report.totals.to_counts()
    assert (counts.total, counts.passed, counts.failed, counts.errors, counts.skipped) == (4, 1, 1, 1, 1)
    assert counts.duration_ms == 262
    passed, failed, skipped, error = report.cases
    assert (passed.suite, passed.class_name, passed.name) == ("pytest", "tests.test_cart", "test_total")
    assert (passed.file, passed.line, passed.duration_ms) == ("tests/test_cart.py", 7, 12)
    assert (failed.message, failed.details) == ("assert 1 == 2", "def test_tax():\n>   assert 1 == 2")
    assert (skipped.status, skipped.message) == (CaseStatus.SKIPPED, "no network")
    assert (error.message, error.details) == ("failed on setup", "Traceback <most recent>")


def test_a_report_of_surefire_is_read() -> None:
    adds, removes = read(SUREFIRE.encode()).cases
    assert (adds.status, adds.duration_ms, adds.details) == (CaseStatus.PASSED, 1_234_500, "")
    assert (removes.status, removes.message, removes.duration_ms) == (
        CaseStatus.FAILED,
        "java.lang.AssertionError",
        0,
    )


def test_nested_suites_are_counted_by_the_innermost_name() -> None:
    report = read(
        b"<testsuites><testsuite name='a'><testsuite name='b'><testcase name='x'/></testsuite>"
        b"<testcase name='y'/><testsuite><testcase name='z'/></testsuite></testsuite></testsuites>"
    )
    assert {name: tally.total for name, tally in report.suites.items()} == {"b": 1, "a": 2}


def test_the_worst_of_several_results_counts() -> None:
    case = "<testcase name='a'><failure message='f'>one</failure>{}</testcase>"
    (first,) = read(suite(case.format("<error message='e'>two</error>"))).cases
    (second,) = read(suite(case.format("<skipped>three</skipped><failure>four</failure>"))).cases
    assert (first.status, first.message, first.details) == (CaseStatus.ERROR, "e", "two")
    assert (second.status, second.message, second.details) == (CaseStatus.FAILED, "f", "one")


def test_each_member_of_a_gzip_file_is_a_file(chunk: int) -> None:
    content = gzip.compress(PYTEST.encode()) + gzip.compress(b"<broken") + gzip.compress(SUREFIRE.encode()) + bytes(512)
    report = read(content, "gzip", chunk)
    assert report.totals.total == 6
    assert report.warnings == ["File 2 of the report was not read completely: invalid XML in line 1: unclosed token."]


@pytest.mark.parametrize("content", [BILLION_LAUGHS, EXTERNAL])
def test_document_types_are_refused(content: str) -> None:
    report = read(content.encode())
    assert report.totals.total == 0
    assert report.warnings == ["File 1 of the report was not read completely: it has a document type."]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html/>", "it is not a JUnit report"),
        (b"<testsuite><testcase name='\x01'/></testsuite>", "invalid XML in line 1"),
        (b"<testsuite><testcase name='&nbsp;'/></testsuite>", "invalid XML in line 1: undefined entity"),
        (b"<testsuite>", "invalid XML in line 1: no element found"),
        (b"<?xml version='1.0' encoding='klingon'?><testsuite/>", "its encoding is not supported"),
        (b"<testsuite>" + b"<a>" * 200, "it has too many elements"),
        (b"<testsuite name='" + b"a" * (2 * junit_parser.MAX_TOKEN_BYTES), "a tag is longer than"),
        (b"\xff\xfe\x00", "invalid XML in line 1"),
    ],
)
def test_an_unreadable_file_is_a_warning(content: bytes, reason: str) -> None:
    (warning,) = read(content, chunk=100_000).warnings
    assert reason in warning


def test_tests_before_a_broken_part_are_counted() -> None:
    report = read(b"<testsuite><testcase name='a'/><testcase name='b'/></oops>")
    assert (report.totals.total, len(report.warnings)) == (2, 1)


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        (b"no gzip", "The report is not a valid gzip file."),
        (gzip.compress(PYTEST.encode())[:-20], "The report is incomplete."),
        (gzip.compress(b"<testsuite/>")[:-8] + bytes(8), "The report is not a valid gzip file."),
    ],
    ids=["no gzip", "truncated", "wrong checksum"],  # explicit ids, because gzip data contains the time
)
def test_a_broken_gzip_file_is_a_warning(content: bytes, warning: str) -> None:
    assert read(content, "gzip").warnings == [warning]


def test_an_unknown_format_is_a_warning() -> None:
    assert read(b"PK", "zip").warnings == ["Reports of format zip are not supported."]


def test_a_gzip_bomb_is_not_unpacked_completely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_reader, "MAX_REPORT_BYTES", 300_000)
    reader = ReportReader("gzip")
    steps = sum(1 for _ in reader.feed(gzip.compress(b"<testsuite>" + b" " * 10_000_000)))
    assert steps <= 5
    assert reader.has_ended
    assert reader.finish().warnings == [report_reader.TOO_LARGE]


def test_compressed_bytes_without_content_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    content = gzip.compress(b"<testsuite/>") * 30
    monkeypatch.setattr(report_reader, "MAX_REPORT_BYTES", len(content) - 1)
    assert read(content, "gzip").warnings == [report_reader.TOO_LARGE]


def test_the_number_of_files_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_reader, "MAX_FILES", 10)
    report = read(gzip.compress(b"<testsuite><testcase/></testsuite>") * 11, "gzip")
    assert report.totals.total == 10
    assert report.warnings == ["Only the first 10 files of the report were read."]


def test_only_so_many_tests_are_counted_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(junit_parser, "MAX_CASES", 30)
    monkeypatch.setattr(junit_parser, "MAX_KEPT_CASES", 20)
    monkeypatch.setattr(junit_parser, "MAX_KEPT_FAILURES", 5)
    passed, failed = read(many(40)), read(many(10, "<failure/>"))
    assert (passed.totals.total, len(passed.cases)) == (30, 20)
    assert passed.warnings == [
        "File 1 of the report was not read completely: more than 30 tests.",
        "The report has too many tests or messages: not all of them are listed.",
    ]
    assert (failed.totals.total, len(failed.cases)) == (10, 5)


def test_names_and_messages_are_limited_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(junit_parser, "MAX_KEPT_NAME_BYTES", 45)
    monkeypatch.setattr(junit_parser, "MAX_KEPT_TEXT_BYTES", 12)
    report = read(many(9, "<failure>äßö</failure>"))
    assert [(case.name, case.details) for case in report.cases] == [
        ("case 0", "äßö"),
        ("case 1", "äßö"),
        ("case 2", ""),
        ("case 3", ""),
        ("case 4", ""),
        ("case 5", ""),
    ]


def test_long_texts_are_cut() -> None:
    long = "x" * 50_000
    failure = f"<failure message='{long}'>{long}<b/>{long}</failure>"
    (case,) = read(suite(f"<testcase name='{long}' classname='{long}'>{failure}</testcase>")).cases
    assert (len(case.name), len(case.class_name)) == (500, 500)
    assert (len(case.message), len(case.details)) == (2000, 16_000)


def test_suites_beyond_the_limit_are_counted_only_in_total() -> None:
    content = "".join(f"<testsuite name='{i}'><testcase name='a'/></testsuite>" for i in range(60))
    report = read(f"<testsuites>{content}</testsuites>".encode())
    assert (report.totals.total, len(report.suites)) == (60, 50)


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "", "1e400", "x"])
def test_an_impossible_duration_is_ignored(seconds: str) -> None:
    (case,) = read(suite(f"<testcase name='a' time='{seconds}'/>")).cases
    assert case.duration_ms == 0
