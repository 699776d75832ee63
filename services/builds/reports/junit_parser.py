"""Streaming parser for JUnit XML, with limits on depth, on sizes, and on the numbers of elements and tests.

Document types are refused, so that there are no entities to expand or to load. All tests are counted, but the parser
keeps only a limited number of tests, and of their messages.
"""

import math
from dataclasses import dataclass, field
from xml.parsers import expat

from contracts.builds import CaseCounts, CaseStatus, ReportedCase

MAX_CASES = 200_000  # tests in one report
MAX_ELEMENTS = 2_000_000
MAX_DEPTH = 100
MAX_TOKEN_BYTES = 1024 * 1024  # longest tag with its attributes; expat parses an incomplete tag again for each chunk
MAX_KEPT_FAILURES = 1000
MAX_KEPT_CASES = 20_000  # tests that passed or were skipped
MAX_KEPT_NAME_BYTES = 4 * 1024 * 1024  # size of all names and paths together
MAX_KEPT_TEXT_BYTES = 4 * 1024 * 1024  # size of all messages and details together
MAX_NAME_LENGTH, MAX_MESSAGE_LENGTH, MAX_DETAILS_LENGTH = 500, 2000, 16_000
MAX_SUITES = 50
MAX_WARNINGS = 20
MAX_DURATION_MS = 10**10
RESULT_TAGS = {"failure": CaseStatus.FAILED, "error": CaseStatus.ERROR, "skipped": CaseStatus.SKIPPED}
SEVERITY = (CaseStatus.PASSED, CaseStatus.SKIPPED, CaseStatus.FAILED, CaseStatus.ERROR)
ROOT_TAGS = ("testsuites", "testsuite")


class ReportRejected(Exception):
    """The rest of a file is not read. The message says why."""


@dataclass(slots=True)
class Tally:
    """Numbers of tests by status, and the sum of their durations."""

    by_status: dict[CaseStatus, int] = field(default_factory=lambda: dict.fromkeys(CaseStatus, 0))
    total: int = 0
    duration_ms: int = 0

    def add(self, case: ReportedCase) -> None:
        self.by_status[case.status] += 1
        self.total += 1
        self.duration_ms += case.duration_ms

    def to_counts(self) -> CaseCounts:
        return CaseCounts(
            total=self.total,
            passed=self.by_status[CaseStatus.PASSED],
            failed=self.by_status[CaseStatus.FAILED],
            errors=self.by_status[CaseStatus.ERROR],
            skipped=self.by_status[CaseStatus.SKIPPED],
            duration_ms=self.duration_ms,
        )


@dataclass(slots=True)
class ParsedReport:
    """The tests of a report. Their texts are truncated to the limits of this module, and may contain secrets."""

    totals: Tally = field(default_factory=Tally)
    suites: dict[str, Tally] = field(default_factory=dict)
    cases: list[ReportedCase] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    names_size: int = 0
    texts_size: int = 0
    kept_failures: int = 0
    is_truncated: bool = False

    def warn(self, text: str) -> None:
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(text)

    def add(self, case: ReportedCase) -> None:
        """Count a test, and keep it if there is room. Raises ReportRejected for too many tests."""
        if self.totals.total >= MAX_CASES:
            raise ReportRejected(f"more than {MAX_CASES} tests")
        self.totals.add(case)
        if case.suite in self.suites or len(self.suites) < MAX_SUITES:
            self.suites.setdefault(case.suite, Tally()).add(case)
        names_size = self.names_size + _size_of(case.suite, case.class_name, case.name, case.file)
        if names_size > MAX_KEPT_NAME_BYTES or not self._has_room(case):
            self.is_truncated = True
            return
        self.names_size = names_size
        self.kept_failures += case.has_failed
        self.cases.append(self._with_texts(case))

    def _has_room(self, case: ReportedCase) -> bool:
        if case.has_failed:
            return self.kept_failures < MAX_KEPT_FAILURES
        return len(self.cases) - self.kept_failures < MAX_KEPT_CASES

    def _with_texts(self, case: ReportedCase) -> ReportedCase:
        """Return the test without its texts if there is no room for them."""
        texts_size = self.texts_size + _size_of(case.message, case.details)
        if texts_size > MAX_KEPT_TEXT_BYTES:
            self.is_truncated = True
            return case.replace(message="", details="")
        self.texts_size = texts_size
        return case


def _size_of(*texts: str) -> int:
    return sum(len(text.encode()) for text in texts if text)


class JUnitParser:
    """Parses one file and adds its tests to a report."""

    def __init__(self, report: ParsedReport) -> None:
        self._report = report
        self._path: list[str] = []
        self._suites: list[str] = []
        self._elements = 0
        self._received = 0
        self._case: ReportedCase | None = None
        self._result: CaseStatus | None = None  # status of the result element that is being read
        self._text: list[str] = []
        self._text_length = 0
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._append_text

    def feed(self, data: bytes, *, final: bool = False) -> None:
        """Parse a part of the file. Raises ReportRejected if the file is invalid or exceeds a limit."""
        try:
            self._parser.Parse(data, final)
        except expat.ExpatError as error:
            raise ReportRejected(f"invalid XML in line {error.lineno}: {expat.ErrorString(error.code)}") from None
        except (LookupError, ValueError):
            raise ReportRejected("its encoding is not supported") from None
        self._received += len(data)
        if self._received - self._parser.CurrentByteIndex > MAX_TOKEN_BYTES:
            raise ReportRejected(f"a tag is longer than {MAX_TOKEN_BYTES} bytes")

    def _refuse_doctype(self, *_declaration: object) -> None:
        raise ReportRejected("it has a document type")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > MAX_ELEMENTS or len(self._path) >= MAX_DEPTH:
            raise ReportRejected("it has too many elements")
        name = tag.rpartition(":")[2]
        if not self._path and name not in ROOT_TAGS:
            raise ReportRejected("it is not a JUnit report")
        self._path.append(name)
        if name == "testsuite":
            self._suites.append(_shorten(attributes.get("name")))
        elif name == "testcase" and self._case is None:
            self._case = _new_case(attributes, next(filter(None, reversed(self._suites)), ""))
        elif self._case and self._path[-2] == "testcase" and name in RESULT_TAGS:
            self._begin_result(self._case, RESULT_TAGS[name], attributes)

    def _begin_result(self, case: ReportedCase, status: CaseStatus, attributes: dict[str, str]) -> None:
        """Take over the result of a test. Of several results, the worst counts."""
        if SEVERITY.index(status) <= SEVERITY.index(case.status):
            return
        message = attributes.get("message") or attributes.get("type") or ""
        self._case = case.replace(status=status, message=message[:MAX_MESSAGE_LENGTH])
        self._result, self._text, self._text_length = status, [], 0

    def _append_text(self, text: str) -> None:
        if self._result and self._text_length < MAX_DETAILS_LENGTH:
            part = text[: MAX_DETAILS_LENGTH - self._text_length]
            self._text.append(part)
            self._text_length += len(part)

    def _end(self, _tag: str) -> None:
        name = self._path.pop()
        if name == "testsuite":
            self._suites.pop()
        elif self._case and self._result and RESULT_TAGS.get(name) is self._result and self._path[-1] == "testcase":
            self._case, self._result = self._case.replace(details="".join(self._text)), None
        elif self._case and name == "testcase" and "testcase" not in self._path:
            case, self._case = self._case, None
            self._report.add(case)


def _new_case(attributes: dict[str, str], suite: str) -> ReportedCase:
    line = attributes.get("line", "")
    return ReportedCase(
        status=CaseStatus.PASSED,
        suite=suite,
        class_name=_shorten(attributes.get("classname")),
        name=_shorten(attributes.get("name")),
        file=_shorten(attributes.get("file")),
        line=int(line) if line.isascii() and line.isdigit() and len(line) < 10 else None,
        duration_ms=_parse_duration(attributes.get("time", "")),
    )


def _shorten(text: str | None) -> str:
    return (text or "")[:MAX_NAME_LENGTH]


def _parse_duration(seconds: str) -> int:
    """Return the duration in milliseconds, or 0 if the text is not a positive number of seconds."""
    try:
        value = float(seconds.replace(",", "")[:40])
    except ValueError:
        return 0
    return min(round(value * 1000), MAX_DURATION_MS) if math.isfinite(value) and value > 0 else 0
