"""Reading of an uploaded report in small steps: decompression with a limit, and parsing of the files in it."""

import zlib
from collections.abc import Iterator

from services.builds.reports.junit_parser import JUnitParser, ParsedReport, ReportRejected

MAX_REPORT_BYTES = 50 * 1024 * 1024  # limit for all files of a report together, compressed as well as decompressed
STEP_BYTES = 64 * 1024
GZIP_WINDOW = 31  # zlib's value for gzip
MAX_FILES = 5000
TOO_LARGE = f"Only the first {MAX_REPORT_BYTES // 1024**2} MiB of the report were read."
FORMATS = ("gzip", "raw")


class ReportReader:
    """Parses the content of a report as it arrives. A gzip file has one member for each file in the report."""

    def __init__(self, artifact_format: str) -> None:
        self.report = ParsedReport()
        self._is_compressed = artifact_format == "gzip"
        self._received = 0
        self._size = 0  # decompressed bytes
        self._file_number = 0
        self._is_rejected = False  # the rest of the current file is skipped
        self._parser: JUnitParser | None = None
        self._member: zlib._Decompress | None = None
        self.has_ended = artifact_format not in FORMATS  # True: the rest of the report is not read
        if self.has_ended:
            self.report.warn(f"Reports of format {artifact_format} are not supported.")

    def feed(self, chunk: bytes) -> Iterator[None]:
        """Parse a chunk of the content in small steps. The caller can do other work after each step."""
        self._received += len(chunk)
        if self._received > MAX_REPORT_BYTES:
            self._end(TOO_LARGE)
        for piece in self._decompress(chunk) if self._is_compressed else _split(chunk):
            if self.has_ended:
                return
            self._size += len(piece)
            if self._size > MAX_REPORT_BYTES:
                self._end(TOO_LARGE)
                return
            self._parse(piece)
            yield

    def finish(self) -> ParsedReport:
        """Return what was read. Nothing may be fed afterwards."""
        if self._member and not self.has_ended:
            self.report.warn("The report is incomplete.")
        elif self._parser and not self.has_ended:
            self._finish_file()
        if self.report.is_truncated:
            self.report.warn("The report has too many tests or messages: not all of them are listed.")
        return self.report

    def _decompress(self, chunk: bytes) -> Iterator[bytes]:
        """Yield decompressed pieces. Each member of the gzip file is a file of its own."""
        while chunk and not self.has_ended:
            if self._member is None:
                if not chunk.strip(b"\0"):
                    return  # padding behind the last member
                self._member = zlib.decompressobj(GZIP_WINDOW)
            try:
                piece = self._member.decompress(chunk, STEP_BYTES)
            except zlib.error:
                self._end("The report is not a valid gzip file.")
                return
            chunk = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            yield piece
            if self._member.eof:
                self._member = None
                self._finish_file()

    def _parse(self, piece: bytes, *, final: bool = False) -> None:
        if self._parser is None:
            if self._is_rejected or self.has_ended:
                return
            self._file_number += 1
            if self._file_number > MAX_FILES:
                self._end(f"Only the first {MAX_FILES} files of the report were read.")
                return
            self._parser = JUnitParser(self.report)
        try:
            self._parser.feed(piece, final=final)
        except ReportRejected as rejected:
            self.report.warn(f"File {self._file_number} of the report was not read completely: {rejected}.")
            self._parser, self._is_rejected = None, True

    def _finish_file(self) -> None:
        self._parse(b"", final=True)
        self._parser, self._is_rejected = None, False

    def _end(self, warning: str) -> None:
        self.report.warn(warning)
        self.has_ended = True


def _split(chunk: bytes) -> Iterator[bytes]:
    return (chunk[offset : offset + STEP_BYTES] for offset in range(0, len(chunk), STEP_BYTES))
