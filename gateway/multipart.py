"""A multipart form with one file, read as it arrives: only the piece at hand is in memory."""

import re

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from contracts.errors import Refused

MOST_PARTS = 20
LONGEST_FIELD = 4096  # bytes
LONGEST_NAME = 200  # characters of a file name
UNSAFE = re.compile(r"[\x00-\x1f\x7f]")


class Form:
    """Fed with the body; `fields` and `file_name` are known once they have come by."""

    def __init__(self, content_type: bytes) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise Refused("REQUEST_MALFORMED", "The body is multipart/form-data.")
        self.fields: dict[str, str] = {}
        self.file_name = ""
        self.has_file = False
        self.complete = False  # its last boundary has come
        self._headers: dict[bytes, bytes] = {}
        self._header = b""
        self._value = b""
        self._name = ""
        self._in_file = False
        self._parts = 0
        self._field = bytearray()
        self._file = bytearray()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._on_header,
                    "on_header_value": self._on_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers,
                    "on_part_data": self._on_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError:
            raise Refused("REQUEST_MALFORMED", "The form's boundary cannot be used.") from None

    def feed(self, chunk: bytes) -> bytes:
        """What of it belongs to the file."""
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise Refused("REQUEST_MALFORMED", "The body is no multipart form.") from None
        found = bytes(self._file)
        self._file.clear()
        return found

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise Refused("REQUEST_MALFORMED", f"The form has more than {MOST_PARTS} parts.")
        self._headers, self._field = {}, bytearray()

    def _on_header(self, content: bytes, start: int, end: int) -> None:
        self._header += content[start:end]

    def _on_value(self, content: bytes, start: int, end: int) -> None:
        self._value += content[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode(errors="replace")
        self._in_file = self._name == "file"
        if not self._in_file:
            return
        if self.has_file:
            raise Refused("REQUEST_MALFORMED", "The form has more than one file.")
        self.has_file = True
        self.file_name = _safe(options.get(b"filename", b"").decode(errors="replace"))

    def _on_data(self, content: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._file += content[start:end]
            return
        self._field += content[start:end]
        if len(self._field) > LONGEST_FIELD:
            raise Refused("REQUEST_MALFORMED", "A field of the form is too long.")

    def _on_part_end(self) -> None:
        if not self._in_file:
            self.fields[self._name] = self._field.decode(errors="replace")

    def _on_end(self) -> None:
        self.complete = True


def _safe(name: str) -> str:
    """The last part of a path, without what could move a cursor or end a header."""
    return UNSAFE.sub("_", re.split(r"[/\\]", name)[-1]).strip(". ")[-LONGEST_NAME:]
